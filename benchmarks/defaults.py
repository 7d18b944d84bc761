"""What each default of training is worth: one change at a time, at the same number of seconds.

Only images that the benchmark at equal time learns from are used; some of them are held out here,
so that no default is chosen on the images that are scored there. Updates are timed in turns, and
each variant gets as many as fit the seconds of one thread. What is finished lies in the work folder
and is not done again.

    python benchmarks/defaults.py --data ../shared/data [--seconds 60] [--sets membranes nuclei]
        [--variants base width_32] [--jobs 2] [--table]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equal_time_data import DATA_SETS as AT_EQUAL_TIME
from equal_time_runs import measure
from improvement_steps import fastest_numerics, ratios, step_times, undisturbed_s
from maskwright.data.dataset import find_cases
from maskwright.plan.machine import describe_machine
from measuring import RESULTS, markdown_table

HERE = Path(__file__).parent
BASE, SEEDS = "base", ("seed_1", "seed_2")
VARIANTS: Mapping[str, tuple[str, ...]] = {
    BASE: (),
    **{name: (f"train.seed={name[-1]}",) for name in SEEDS},
    "adamw": ("optimiser=adamw",),
    "adamw_rate_5e-3": ("optimiser=adamw", "learning_rate=5e-3"),
    "sgd": ("optimiser=sgd", "learning_rate=0.01"),
    "rate_1e-3": ("learning_rate=1e-3",),
    "rate_4e-3": ("learning_rate=4e-3",),
    "rate_found": ("learning_rate=auto",),
    "warmup_20%": ("warmup_share=0.2",),
    "decay_0.1": ("weight_decay=0.1",),
    "average_none": ("train.average=0",),
    "average_0.98": ("train.average=0.98",),
    "width_8": ("width=8",),
    "width_24": ("width=24",),
    "width_32": ("width=32",),
    "half_patch": ("{half_patch}", "{more_batch}"),
    "half_batch": ("{half_batch}",),
    "double_batch": ("{more_batch}",),
    "instance_norm": ("norm=instance",),
    "residual": ("block=residual",),
    "one_level": ("levels=none",),
    "supervised": ("levels=supervised",),
    "shallower": ("{shallower}",),
    "ce": ("loss=ce",),
    "dice": ("loss=dice",),
    "focal": ("loss=dice+focal",),
    "dice_of_patches": ("dice_per_sample=true",),
    "changes_none": ("elastic_px=0", "rotate_deg=0", "scale=0", "augment.share=0"),
    "changes_weak": ("elastic_px=4", "scale=0.15", "augment.share=0.2"),
    "changes_strong": ("elastic_px=12", "scale=0.4", "augment.share=0.5", "noise=0.3"),
    "anywhere": ("foreground_share=0",),
    "on_classes": ("foreground_share=0.8",),
    "float32": ("train.precision=float32",),
}
"""What is changed; names in braces depend on the set."""


@dataclass(frozen=True)
class DataSet:
    """A data set and what of its learning part is held out here.

    Args:
        name: Name of its folder.
        held: From the names of the learning part to those that are scored.
        options: Further arguments of ``maskwright train``.
        measures: Groups of measures besides overlap.
        patch_px: Side of a patch, for the variants of it.
        batch: Patches a step, likewise.
        depth: Poolings, likewise.
    """

    name: str
    held: Callable[[Sequence[str]], list[str]]
    options: tuple[str, ...] = ()
    measures: str = ""
    patch_px: int = 256
    batch: int = 4
    depth: int = 4

    def settings(self, variant: str) -> tuple[str, ...]:
        """The settings of a variant.

        Example:
            >>> DATA_SETS["hippocampus"].settings("half_batch")
            ('batch=1',)
        """
        own = {
            "half_patch": f"patch_px={self.patch_px // 2}",
            "half_batch": f"batch={self.batch // 2}",
            "more_batch": f"batch={self.batch * 2}",
            "shallower": f"depth={self.depth - 1}",
        }
        return tuple(setting.format(**own) for setting in VARIANTS[variant])


def _patients(names: Sequence[str]) -> list[str]:
    patients = sorted({name.split("_")[0] for name in names})[::3]
    return [name for name in names if name.split("_")[0] in patients]


DATA_SETS = {
    data.name: data
    for data in (
        DataSet(
            "membranes",
            lambda names: [name for name in names if name >= "slice_15"],
            ("--labels", "cell=255,membrane=0"),
            "partition",
        ),
        DataSet("vessels", lambda names: [n for n in names if n >= "Image_09"], (), "ranking"),
        DataSet("nuclei", lambda names: list(names[::4]), ("--objects",), "objects"),
        DataSet("lung_tumours", _patients, ("--labels", "background=0,tumour=255")),
        DataSet("hippocampus", lambda names: list(names[::4]), (), "surface", 48, 2, 3),
    )
}


@dataclass(frozen=True)
class Prepared:
    """A data set as :mod:`improvement_steps` takes it."""

    data: Any
    root: Path
    splits: tuple[Path, ...]


@dataclass(frozen=True)
class _Options:
    options: Mapping[str, Any]


def prepare(data: DataSet, source: Path, folder: Path) -> Prepared:
    """Write the split of a set; the test of the benchmark at equal time is in neither part."""
    root = source / data.name
    names = sorted(case.name for case in find_cases(root).cases if case.mask is not None)
    if data.name in AT_EQUAL_TIME:
        kept_away = set(AT_EQUAL_TIME[data.name].test(names))
        names = [name for name in names if name not in kept_away]
    held = data.held(names)
    parts = {"train": [name for name in names if name not in set(held)], "test": held}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "split.json"
    file.write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")
    pairs = zip(data.options[::2], data.options[1::2], strict=False)
    options: dict[str, Any] = {key.removeprefix("--"): value for key, value in pairs}
    if "--objects" in data.options:
        options = {"objects": True}
    return Prepared(_Options(options), root, (file,))


def time_steps(
    data: DataSet, prepared: Prepared, variants: Sequence[str], folder: Path
) -> dict[str, Any]:
    """How long updates take: of the base in seconds, of the variants beside it; known ones stay."""
    path = folder / "step_times.json"
    known: dict[str, Any] = {"numerics": None, "step_s": None, "ratios": {}, "refused": {}}
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
    known["numerics"] = known["numerics"] or fastest_numerics(prepared, ())
    missing = [v for v in variants if v not in known["ratios"] and v not in known["refused"]]
    # Few at a time, as all of them hold their images and networks.
    for first in range(0, len(missing), 6):
        some = [BASE, *(name for name in missing[first : first + 6] if name != BASE)]
        settings = {v: (*known["numerics"], *data.settings(v)) for v in some}
        seconds, refused = step_times(prepared, settings, rounds=4)
        if BASE not in seconds:
            raise SystemExit(refused[BASE])
        known["step_s"] = known["step_s"] or undisturbed_s(seconds[BASE])
        known["ratios"] |= ratios(seconds, BASE)
        known["refused"] |= refused
        path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return known


def train(
    data: DataSet, prepared: Prepared, variant: str, known: Mapping[str, Any], seconds: float,
    folder: Path,
) -> dict[str, Any]:  # fmt: skip
    """Train one variant and read its scores, or read those of a training that is done."""
    path = folder / f"{variant}_{seconds:g}s"
    figures = path / "figures.json"
    if figures.exists():
        done: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8"))
        return done
    path.mkdir(parents=True, exist_ok=True)
    steps = max(1, round(seconds / (known["step_s"] * known["ratios"][variant])))
    settings = (
        *known["numerics"],
        f"evaluate.measures={data.measures}",
        *data.settings(variant),
    )
    _, failed = measure(
        [
            *(sys.executable, "-m", "maskwright.cli", "train", str(prepared.root)),
            *("--out", str(path / "run"), "--split", str(prepared.splits[0])),
            *("--steps", str(steps), "--resume", "--quiet", *data.options),
            *(part for setting in settings for part in ("--set", setting)),
        ],
        path / "log.txt",
        3600,
    )
    scores = {} if failed else scores_of(data.name, path / "run")
    found = {"set": data.name, "variant": variant, "steps": steps, "failed": failed}
    found["scores"] = scores
    figures.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def scores_of(name: str, run: Path) -> dict[str, float]:
    """Dice and the own measure of a set, of what was held out."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    drawn = list(metrics["summary"]["classes"].values())[1:]
    # Of slices without a tumour Dice is 0 or 1, so that all slices are counted together.
    way = "pooled" if name == "lung_tumours" else "mean"
    found = {"Dice": statistics.fmean(each["dice"][way] for each in drawn)}
    if name == "membranes":
        cells = metrics["partitions"]["cell"]
        found |= {"V-Rand": cells["best_v_rand"][1], "V-Info": cells["best_v_info"][1]}
    if name == "vessels":
        found["AUC"] = drawn[0]["auc"]["mean"]
    if name == "nuclei":
        found["AP"] = drawn[0]["ap"]["pooled"]
    if name == "hippocampus":
        found["HD95"] = statistics.fmean(each["hd95"]["mean"] for each in drawn)
    return found


def table_of(
    found: Mapping[tuple[str, str], Mapping[str, Any]], times: Mapping[str, Mapping[str, Any]]
) -> list[list[str]]:
    """A row for each variant: what it gains in Dice on each set, and on all of them."""
    sets = [name for name in DATA_SETS if (name, BASE) in found]
    rows = [["variant", "time of an update", *sets, "mean gain in Dice"]]
    for variant in VARIANTS:
        own = {name: found[name, variant] for name in sets if (name, variant) in found}
        if not own:
            continue
        ratio = [times[name]["ratios"][variant] for name in own]
        gains, cells = [], []
        for name in sets:
            scores = own.get(name, {}).get("scores", {})
            if not scores:
                cells.append("-")
                continue
            gains.append(scores["Dice"] - found[name, BASE]["scores"]["Dice"])
            dice = f"{scores['Dice']:.4f}" if variant == BASE else f"{gains[-1]:+.4f}"
            others = ", ".join(f"{k} {v:.3f}" for k, v in scores.items() if k != "Dice")
            cells.append(f"{dice} ({others})" if others else dice)
        mean = f"{statistics.fmean(gains):+.4f}" if gains and variant != BASE else ""
        rows.append([variant, f"{statistics.fmean(ratio):.2f}", *cells, mean])
    return rows


def write(found: Sequence[Mapping[str, Any]], times: Mapping[str, Any], seconds: float) -> None:
    """Write ``defaults.json`` and ``defaults.md``, and print the table."""
    by_name = {(each["set"], each["variant"]): each for each in found}
    table = markdown_table(table_of(by_name, times))
    print(table, flush=True)
    settings = {name: list(values) for name, values in VARIANTS.items()}
    values = {
        "machine": describe_machine(),
        "seconds": seconds,
        "variants": settings,
        "times": dict(times),
        "runs": list(found),
    }
    (RESULTS / "defaults.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    told = (
        f"Each network learnt for {seconds:g} seconds of one thread, from images that the "
        "benchmark at equal time learns from too; scores are of others among them. The first row "
        "is the default; below are differences in Dice, and the own measures as they are. The rows "
        "of other seeds show what is noise."
    )
    text = f"# defaults\n\n{table}\n\n{told}\n\n`python benchmarks/defaults.py`\n"
    (RESULTS / "defaults.md").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--sets", nargs="+", choices=list(DATA_SETS), default=list(DATA_SETS))
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--table", action="store_true", help="only write what is finished")
    parser.add_argument("--work", type=Path, default=HERE / "work" / "defaults")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    work, variants = arguments.work.resolve(), list(dict.fromkeys((BASE, *arguments.variants)))
    found: list[dict[str, Any]] = []
    times: dict[str, Any] = {}
    for name in arguments.sets:
        data, folder = DATA_SETS[name], work / name
        if arguments.table:
            if not (folder / "step_times.json").exists():
                continue
            times[name] = json.loads((folder / "step_times.json").read_text(encoding="utf-8"))
            files = [folder / f"{v}_{arguments.seconds:g}s" / "figures.json" for v in variants]
            found += [json.loads(f.read_text(encoding="utf-8")) for f in files if f.exists()]
            continue
        prepared = prepare(data, arguments.data.resolve(), folder)
        times[name] = known = time_steps(data, prepared, variants, folder)
        trained = [v for v in variants if v in known["ratios"]]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            for number, each in enumerate(
                pool.map(
                    lambda v: train(data, prepared, v, known, arguments.seconds, folder),  # noqa: B023
                    trained,
                ),
                start=1,
            ):
                found.append(each)
                print(f"{name}: {number} of {len(trained)}", file=sys.stderr, flush=True)
        write(found, times, arguments.seconds)
    write(found, times, arguments.seconds)


if __name__ == "__main__":
    main()
