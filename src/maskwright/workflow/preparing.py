"""What happens before a plan and before training alike: data are checked and split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from maskwright.config import RunConfig
from maskwright.data.check import CheckReport, check_dataset
from maskwright.data.choices import as_note
from maskwright.data.split import Split
from maskwright.plan.rules import FEWEST_SLICES
from maskwright.progress import Events
from maskwright.workflow.fitting import fit_to_data, settle_spacing
from maskwright.workflow.splitting import choose_split


@dataclass(frozen=True)
class Prepared:
    """A data set ready to be planned for.

    Args:
        config: What was asked for, and the usual where nothing was.
        fitted: The same with what follows from the data.
        report: The checked data set.
        split: Which image is for what.
    """

    config: RunConfig
    fitted: RunConfig
    report: CheckReport
    split: Split


def prepare(
    data: str | Path,
    settled: Callable[..., RunConfig],
    *,
    split_file: str | Path | None = None,
    may_slice: bool = True,
    events: Events,
) -> Prepared:
    """Check a data set and split it; whatever can be refused is refused here.

    Args:
        data: Folder or manifest.
        settled: The configuration, given ``dims`` of the data and whether ``slices`` are images.
        split_file: JSON file that says which image is for what.
        may_slice: Whether stacks of few slices may be learnt slice by slice.
        events: Where progress and findings are told.
    """
    config, report, sliced = check_slices(data, settled, may_slice=may_slice, events=events)
    split = choose_split(config, report, split_file)
    config, told = settle_spacing(settled(dims=report.dims, slices=sliced), report, split)
    if told and as_note(told) not in report.notes:
        events.send("message", text=told)
    return Prepared(config, fit_to_data(config, report), report, split)


def check_slices(
    data: str | Path, settled: Callable[..., RunConfig], *, may_slice: bool, events: Events
) -> tuple[RunConfig, CheckReport, bool]:
    """Check a data set, as slices where its stacks have few of them.

    Args:
        data: Folder or manifest.
        settled: As for :func:`prepare`.
        may_slice: As for :func:`prepare`.
        events: Where progress and findings are told.

    Returns:
        The configuration and what was found with it, and whether stacks were cut for it.
    """
    config = settled()
    report = check(data, config, events=events)
    sliced = may_slice and report.dims == 3 and report.median_size[0] < FEWEST_SLICES
    if sliced:
        events.send(
            "message",
            text=f"Stacks of {report.median_size[0]} slices are learnt slice by slice; "
            "--set data.slices=false learns them as volumes.",
        )
        config = settled(slices=True)
        report = check(data, config, events=events)
    return config, report, sliced


def check(data: str | Path, config: RunConfig, *, events: Events) -> CheckReport:
    """Check a data set, telling progress and findings; refuse what cannot be trained on."""

    def on_case(number: int, of: int, name: str) -> None:
        events.send("reading", number=number, images=of, name=name)

    report = check_dataset(Path(data), config.data, patch_px=config.train.patch_px, on_case=on_case)
    report.raise_if_refused()
    for line in report.lines():
        events.send("message", text=line)
    return report
