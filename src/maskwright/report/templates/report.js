"use strict";
// A line of links to the sections, below the headline.
const contents = document.createElement("nav");
contents.className = "contents";
contents.setAttribute("aria-label", "On this page");
for (const heading of document.querySelectorAll("main h2[id]")) {
  const link = document.createElement("a");
  link.href = `#${heading.id}`;
  link.textContent = heading.textContent;
  contents.append(link);
}
document.querySelector(".hero").after(contents);
// Sorting: a button in each heading; the page is complete without it.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        const [p, q] = [Number.parseFloat(x), Number.parseFloat(y)];
        if ("value" in a.cells[column].dataset) {
          if (Number.isNaN(p) || Number.isNaN(q)) return Number.isNaN(p) - Number.isNaN(q);
          return up ? p - q : q - p;
        }
        return (up ? 1 : -1) * x.localeCompare(y, undefined, { numeric: true });
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
// A slider for each volume; without it the worst slice shows.
for (const slider of document.querySelectorAll(".slider")) {
  const figure = slider.closest("figure");
  const pictures = [...figure.querySelectorAll("img[data-slice]")];
  const input = slider.querySelector("input");
  const worst = pictures.findIndex((picture) => !picture.hidden);
  const show = () => {
    const at = Number(input.value);
    pictures.forEach((picture, place) => { picture.hidden = place !== at; });
    const name = `${pictures[at].dataset.slice}${at === worst ? ", the worst" : ""}`;
    slider.querySelector("output").textContent = name;
    input.setAttribute("aria-valuetext", `slice ${name}`);
  };
  input.value = worst;
  input.addEventListener("input", show);
  show();
  figure.querySelector(".slice-note").hidden = true;
  slider.hidden = false;
}
// Paper cannot unfold: everything is printed open.
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([open])")) {
    part.dataset.unfolded = "";
    part.open = true;
  }
});
addEventListener("afterprint", () => {
  for (const part of document.querySelectorAll("details[data-unfolded]")) {
    delete part.dataset.unfolded;
    part.open = false;
  }
});
// A picture opens by its address (#image-3); keys move between pictures and close.
const figures = [...document.querySelectorAll("figure.case")];
const opened = () => figures.findIndex((figure) => `#${figure.id}` === location.hash);
addEventListener("keydown", (event) => {
  const at = opened();
  // Arrow keys belong to a slider while it has the focus.
  if (at < 0 || (event.target.matches("input") && event.key !== "Escape")) return;
  if (event.key === "Escape") location.hash = "-";
  else if (event.key === "ArrowRight") location.hash = figures[(at + 1) % figures.length].id;
  else if (event.key === "ArrowLeft") location.hash = figures.at(at - 1).id;
  else return;
  event.preventDefault();
});
addEventListener("hashchange", (event) => {
  const at = opened();
  if (at >= 0) return figures[at].querySelector(".close").focus();
  const from = document.getElementById(new URL(event.oldURL).hash.slice(1));
  from?.querySelector(".open")?.focus({ preventScroll: true });
});
