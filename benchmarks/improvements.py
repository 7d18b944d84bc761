"""The improvements of the U-Net one by one, at the same number of seconds and with several seeds.

Three parts: ``improvements`` trains the baseline, (a) the label of the image, (b) fused levels,
(c) batch normalisation and all three; ``scales`` predicts resized test images; ``border`` trains
with the border-weighted loss. What is finished lies in the work folder and is not done again, so
an interrupted comparison goes on with the same command.

    python benchmarks/improvements.py --data ../shared/data [--seconds 60] [--seeds 3]
        [--only membranes,nuclei] [--parts improvements,scales,border] [--jobs 2] [--table]

Each set costs about 15 trainings and 10 for the learning rates; ``--rates 2e-3`` leaves out the
latter. ``--table`` writes the tables of what is finished.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import maskwright
from improvement_data import DATA_SETS, Prepared, prepare, write_resized
from improvement_runs import Job, Sizes, predict_sizes, settings_of, train
from improvement_steps import fastest_numerics, ratios, step_times, undisturbed_s
from improvement_table import IMPROVEMENTS, LOSSES, NETWORKS, render
from maskwright.io.durable import write_text
from maskwright.plan.machine import describe_machine
from measuring import RESULTS

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs" / "improvements.md"
PARTS = ("improvements", "scales", "border")

LABELLED = "data.image_labels=contains:{foreground}"
PLAIN, NORMED = "model.norm=none", "model.norm=batch"
SINGLE, FUSED = "model.levels=none", "model.levels=fused"
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "baseline": (PLAIN, SINGLE),
    "a": (PLAIN, SINGLE, LABELLED),
    "b": (PLAIN, FUSED),
    "c": (NORMED, SINGLE),
    "abc": (NORMED, LABELLED, FUSED),
    "c_unscaled": (NORMED, SINGLE, "train.augment.scale=0"),
    "c_fused": (NORMED, FUSED),
    "c_scaled": (NORMED, SINGLE, "train.augment.scale=1"),
    "c_border": (NORMED, SINGLE, "train.loss=dice+border_ce"),
}
SETS_OF_PART = {
    "improvements": tuple(DATA_SETS),
    "scales": ("nuclei",),
    "border": ("nuclei",),
}
VARIANTS_OF_PART = {
    "improvements": tuple(IMPROVEMENTS),
    "scales": tuple(NETWORKS),
    "border": tuple(LOSSES),
}

Done = TypeVar("Done")


@dataclass
class Comparison:
    """One data set on its way through the comparison.

    Args:
        prepared: The data set on disk.
        variants: The variants asked for, those that are refused left out.
        seconds: The time each of them is trained.
        parts: The parts asked for.
        facts: What is known of it, for the tables.
        steps: Updates of each variant.
    """

    prepared: Prepared
    variants: list[str]
    seconds: float
    parts: list[str]
    facts: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)


def searched(variant: str) -> str:
    """The variant whose learning rate is taken: its own, or that of the network it is a form of."""
    return variant if variant in IMPROVEMENTS else "c"


def code_version() -> str:
    """A short hash of the program's source, so that figures of different programs never mix."""
    root = Path(maskwright.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def in_turn(jobs: int, function: Callable[[Any], Done], items: Sequence[Any]) -> list[Done]:
    """Call a function for every item, several at a time, telling how far it is."""
    results: list[Done] = []
    with ThreadPoolExecutor(jobs) as pool:
        for number, result in enumerate(pool.map(function, items), start=1):
            results.append(result)
            print(f"  {number} of {len(items)}", file=sys.stderr, flush=True)
    return results


def measure_steps(
    comparison: Comparison, numerics: Sequence[str], folder: Path, arguments: argparse.Namespace
) -> None:
    """Find out how many updates of each variant fit the time; known times are kept."""
    prepared = comparison.prepared
    path = folder / prepared.data.name / "step_times.json"
    known: dict[str, Any] = {"step_s": None, "ratios": {}, "refused": {}}
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
    missing = [
        variant
        for variant in comparison.variants
        if variant not in known["ratios"] and variant not in known["refused"]
    ]
    if missing and not arguments.table:
        print(f"{prepared.data.name}: timing {', '.join(missing)}", file=sys.stderr, flush=True)
        taken = dict.fromkeys(("baseline", *missing))
        settings = {name: settings_of(prepared, VARIANTS[name], numerics) for name in taken}
        times, refused = step_times(prepared, settings, rounds=arguments.rounds)
        if "baseline" not in times:
            raise SystemExit(refused["baseline"])
        known["step_s"] = known["step_s"] or undisturbed_s(times["baseline"])
        known["ratios"] |= ratios(times, "baseline")
        known["refused"] |= refused
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(known, indent=1) + "\n")
    comparison.variants = [v for v in comparison.variants if v in known["ratios"]]
    comparison.steps = {
        variant: max(1, round(comparison.seconds / (known["step_s"] * ratio)))
        for variant, ratio in known["ratios"].items()
    }
    comparison.facts = {"facts": prepared.facts, "seconds": comparison.seconds, **known}


def compare(arguments: argparse.Namespace, folder: Path) -> list[Comparison]:
    """Prepare the data sets and measure the updates."""
    comparisons = []
    numerics: tuple[str, ...] = ()
    known = folder / "numerics.json"
    for name in arguments.only:
        parts = [part for part in arguments.parts if name in SETS_OF_PART[part]]
        variants = dict.fromkeys(v for part in parts for v in VARIANTS_OF_PART[part])
        wanted = [v for v in variants if not arguments.variants or v in arguments.variants]
        # Where a rate is searched for there must be runs of that variant too.
        chosen = list(dict.fromkeys(each for v in wanted for each in (searched(v), v)))
        if not chosen:
            continue
        place = arguments.work / "data" / name
        place.mkdir(parents=True, exist_ok=True)
        prepared = prepare(DATA_SETS[name], arguments.data, place, arguments.seeds)
        if not numerics:
            if not known.exists():
                if arguments.table:
                    raise SystemExit(f"nothing is finished in {folder}")
                settings = settings_of(prepared, VARIANTS["baseline"], ())
                known.parent.mkdir(parents=True, exist_ok=True)
                write_text(known, json.dumps(fastest_numerics(prepared, settings)) + "\n")
            numerics = tuple(json.loads(known.read_text(encoding="utf-8")))
        comparison = Comparison(prepared, chosen, arguments.seconds * prepared.data.longer, parts)
        measure_steps(comparison, numerics, folder, arguments)
        comparison.facts["numerics"] = numerics
        comparisons.append(comparison)
    return comparisons


def run_all(
    comparisons: Sequence[Comparison], arguments: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Search the learning rates, train the seeds, predict the sizes."""

    def job(comparison: Comparison, variant: str, rate: float, seed: int) -> Job:
        prepared = comparison.prepared
        numerics = comparison.facts["numerics"]
        settings = settings_of(prepared, VARIANTS[variant], numerics)
        steps = comparison.steps[variant]
        return Job(prepared, variant, settings, rate, seed, steps, comparison.seconds, folder)

    searches = [
        job(comparison, variant, rate, 0)
        for comparison in comparisons
        for variant in dict.fromkeys(searched(v) for v in comparison.variants)
        if len(arguments.rates) > 1
        for rate in arguments.rates
    ]
    print(f"learning rates: {len(searches)} trainings", file=sys.stderr, flush=True)
    found = in_turn(arguments.jobs, train, todo(searches, arguments))
    for comparison in comparisons:
        name = comparison.prepared.data.name
        comparison.facts["validation_dice"] = {
            variant: {
                f"{run['rate']:g}": run.get("validation_dice")
                for run in found
                if (run["set"], run["variant"]) == (name, variant)
            }
            for variant in comparison.variants
            if variant == searched(variant)
        }
    trainings = [
        job(comparison, variant, best_rate(comparison, variant, arguments.rates), seed)
        for comparison in comparisons
        for seed in range(arguments.seeds)
        for variant in comparison.variants
    ]
    print(f"seeds: {len(trainings)} trainings", file=sys.stderr, flush=True)
    trainings = todo(trainings, arguments)
    runs = in_turn(arguments.jobs, train, trainings)
    sizes = in_turn(
        arguments.jobs, predict_sizes, predictions(comparisons, trainings, runs, arguments)
    )
    return {
        "machine": describe_machine(),
        "code": arguments.code,
        "seconds": arguments.seconds,
        "seeds": arguments.seeds,
        "sets": {c.prepared.data.name: c.facts for c in comparisons},
        "runs": runs,
        "sizes": sizes,
    }


def best_rate(comparison: Comparison, variant: str, rates: Sequence[float]) -> float:
    """The rate with the best Dice on the validation images; the first of equals."""
    found = comparison.facts["validation_dice"].get(searched(variant), {})
    return max(rates, key=lambda rate: found.get(f"{rate:g}") or -1.0)


def todo(trainings: Sequence[Job], arguments: argparse.Namespace) -> list[Job]:
    """The trainings that count: all, or with ``--table`` those that are finished."""
    return [job for job in trainings if job.figures.exists() or not arguments.table]


def predictions(
    comparisons: Sequence[Comparison],
    trainings: Sequence[Job],
    runs: Sequence[Mapping[str, Any]],
    arguments: argparse.Namespace,
) -> list[Sizes]:
    """What is predicted at several sizes, plain and averaged over scales."""
    resized = {}
    for comparison in comparisons:
        if "scales" in comparison.parts:
            prepared = comparison.prepared
            resized[prepared.data.name] = prepared.splits[0].parent / "resized"
            write_resized(prepared, resized[prepared.data.name])
    wanted = [
        Sizes(job, resized[job.prepared.data.name], averaged)
        for job, run in zip(trainings, runs, strict=True)
        if job.prepared.data.name in resized and job.variant in NETWORKS and not run["failed"]
        for averaged in (False, True)
    ]
    return [sizes for sizes in wanted if sizes.figures.exists() or not arguments.table]


def write(results: Mapping[str, Any]) -> None:
    """Write ``improvements.json`` and the same tables beside it and into the documentation."""
    text = render(results)
    print(text)
    write_text(RESULTS / "improvements.json", json.dumps(results, indent=1) + "\n")
    command = "`python benchmarks/improvements.py --data FOLDER`"
    for path in (RESULTS / "improvements.md", DOCS):
        write_text(path, f"{text}\nMeasured by {command}.\n")


def listed(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Reads names of a known list, joined by commas."""

    def read(text: str) -> list[str]:
        names = text.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]}: choose from {', '.join(known)}")
        return names

    return read


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--seconds", type=float, default=60.0, help="training time of each run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-3, 1e-3, 5e-4])
    parser.add_argument("--only", type=listed(tuple(DATA_SETS)), default=list(DATA_SETS))
    parser.add_argument("--parts", type=listed(PARTS), default=list(PARTS))
    parser.add_argument("--variants", type=listed(tuple(VARIANTS)), help="only these")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--rounds", type=int, default=9, help="turns in which updates are timed")
    parser.add_argument("--work", type=Path, default=HERE / "work" / "improvements")
    parser.add_argument("--code", default=code_version(), help="go on with figures of this hash")
    parser.add_argument("--table", action="store_true", help="only the tables of what is finished")
    arguments = parser.parse_args()
    # Two runs with one thread each get more done than one with two.
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = arguments.work / arguments.code
    write(run_all(compare(arguments, folder), arguments, folder))


if __name__ == "__main__":
    main()
