"""Every folder of the shared data: checked, trained for a few updates, predicted, masks compared.

Nothing is renamed, and no setting is given but those that ``check`` itself names as the remedy of
what it refuses. The network is small and only Dice is measured, to save time; neither is needed.

    python benchmarks/every_folder.py --data ../shared/data [--steps 20] [--width 4]
        [--only lungs,nuclei]
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import maskwright as mw
from maskwright.config import DataConfig
from maskwright.data.check import CheckReport, check_dataset
from maskwright.data.files import find_images
from maskwright.io.durable import write_text
from maskwright.io.registry import read_image, read_mask
from maskwright.io.space import difference
from maskwright.plan.machine import describe_machine
from measuring import RESULTS

FOLDERS = (
    "membranes",
    "vessels",
    "nuclei",
    "nuclei_stained",
    "nuclei_raw_layout",
    "nuclei3d",
    "lungs",
    "lung_tumours",
    "nodule_patch",
    "hippocampus",
    "ct_organs",
)
_REMEDY = re.compile(r"--set (?:data\.)?(\w+)=(\w+)")
_QUICK = ("depth=2", "validations=1", "evaluate.measures=")


def remedies(report: CheckReport) -> dict[str, str]:
    """The settings that a report names for what it refuses."""
    return dict(pair for problem in report.refusals for pair in _REMEDY.findall(problem.remedy))


def try_folder(folder: Path, work: Path, steps: int, width: int) -> dict[str, Any]:
    """Go the whole way with one folder.

    Returns:
        What was said and done; ``failed`` says why it went no further.
    """
    begun = time.monotonic()
    report = check_dataset(folder)
    row: dict[str, Any] = {
        "folder": folder.name,
        "said": [line.replace(f"{folder.parent}/", "") for line in report.lines()],
        "codes": sorted({problem.code for problem in report.problems}),
        "refused": sorted({problem.code for problem in report.refusals}),
        "settings": [],
        "failed": "",
    }
    try:
        told = remedies(report)
        row["settings"] = [f"data.{name}={value}" for name, value in told.items()]
        report = check_dataset(folder, DataConfig.model_validate(told))
        report.raise_if_refused()
        row["cases"] = len(report.cases)
        run = mw.train(
            folder,
            work / "run",
            steps=steps,
            settings=(*row["settings"], f"width={width}", *_QUICK),
        )
        split = json.loads(run.folder.splits.read_text(encoding="utf-8"))
        row["split"] = {part: len(names) for part, names in split.items()}
        row["steps"] = run.config.train.steps
        images = find_images([folder])
        masks = run.predict(images, work / "masks")
        unlike = {
            image.name: apart
            for image, mask in zip(images, masks.files, strict=True)
            if (apart := compare(image, mask))
        }
        row |= {"masks": len(masks), "unlike": unlike}
    except mw.MaskwrightError as error:
        row["failed"] = str(error)
    row["seconds"] = round(time.monotonic() - begun, 1)
    return row


def compare(image_path: Path, mask_path: Path) -> str:
    """How a mask differs from its image in size, spacing and place; empty where it does not."""
    image, mask = read_image(image_path), read_mask(mask_path)
    if image.size != mask.size:
        return f"{mask.size} in the place of {image.size}"
    if image.geometry is not None and mask.geometry is None:
        return "no place in space"
    return difference(image.geometry, mask.geometry) or ""


def render(results: Mapping[str, Any]) -> str:
    """The table."""
    lines = [
        "# Every folder of the shared data",
        "",
        f"Each was checked, trained for {results['steps']} updates and predicted as it is. "
        "Settings are those that `check` names as remedies. To save time the network has 2 levels "
        f"and width {results['width']}, and only Dice was measured. All images of a folder were "
        "predicted, and each mask was compared with its image in size, spacing, origin and "
        "direction. Seconds are those of one machine with other work on it.",
        "",
        "| folder | `check` found | remedy it named | cases | train, validation, test | steps | "
        "masks | unlike their image | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["folders"]:
        codes = [f"**{code}**" if code in row["refused"] else code for code in row["codes"]]
        split = row.get("split", {})
        cells = [
            row["folder"],
            ", ".join(codes) or "nothing wrong",
            ", ".join(f"`{setting}`" for setting in row["settings"]) or "none needed",
            row.get("cases", ""),
            ", ".join(str(split.get(part, "")) for part in ("train", "validation", "test")),
            row.get("steps", row["failed"]),
            row.get("masks", ""),
            len(row["unlike"]) if "unlike" in row else "",
            row["seconds"],
        ]
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    lines += ["", "Refusals are in bold. Beside codes, `check` said:", ""]
    for row in results["folders"]:
        lines += [f"**{row['folder']}**", ""]
        lines += [f"- {line}" for line in shortened(row["said"])]
        lines.append("")
    return "\n".join(lines)


def shortened(said: Sequence[str], most: int = 14) -> list[str]:
    """The sentences without the names of pairs and without most of many classes."""
    kept = [line for line in said if " pairs: " not in line]
    classes = [line for line in kept if re.match(r"values? \d", line)]
    left_out = set(classes[3:]) if len(kept) > most else set()
    shown = [line for line in kept if line not in left_out]
    return [*shown, f"and {len(left_out)} more classes"] if left_out else shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--width", type=int, default=4, help="channels of the first level")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(FOLDERS))
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only:
        work = Path(tempfile.mkdtemp())
        try:
            rows.append(try_folder(arguments.data / name, work, arguments.steps, arguments.width))
        finally:
            shutil.rmtree(work)
        found = rows[-1]["failed"] or f"{rows[-1]['masks']} masks"
        print(f"{name}: {found}, {rows[-1]['seconds']} s", file=sys.stderr, flush=True)
    results = {
        "machine": describe_machine(),
        "steps": arguments.steps,
        "width": arguments.width,
        "folders": rows,
    }
    text = render(results)
    print(text)
    if arguments.only != list(FOLDERS):
        return  # a part of the table would take the place of the whole
    write_text(RESULTS / "every_folder.json", json.dumps(results, indent=1) + "\n")
    command = "`python benchmarks/every_folder.py --data FOLDER`"
    write_text(RESULTS / "every_folder.md", f"{text}\nMeasured by {command}.\n")


if __name__ == "__main__":
    main()
