"""The command that plans."""

from __future__ import annotations

import typer

from maskwright.cli.application import (
    Data,
    GroupBy,
    ImageLabels,
    Json,
    Labels,
    Minutes,
    ObjectIds,
    Quiet,
    Seed,
    Settings,
    SplitFile,
    StartFrom,
    StartPreset,
    Steps,
    app,
    listening,
    print_json,
)


@app.command()
def plan(
    data: Data,
    minutes: Minutes = None,
    steps: Steps = None,
    preset: StartPreset = None,
    start_from: StartFrom = None,
    settings: Settings = None,
    seed: Seed = None,
    split: SplitFile = None,
    group_by: GroupBy = None,
    objects: ObjectIds = None,
    labels: Labels = None,
    image_labels: ImageLabels = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what training would do in a time, and why; nothing is written.

    The data are looked at and a few updates are measured. With --json the plan can be kept, and
    given to train with --plan.

    Example: maskwright plan data --minutes 10

    To keep it: maskwright plan data --minutes 10 --json > plan.json
    """
    from maskwright.workflow.planning import plan as make_plan

    with listening(quiet or as_json) as events:
        found = make_plan(
            data,
            minutes=minutes,
            steps=steps,
            preset=preset,
            start_from=start_from,
            settings=tuple(settings or ()),
            seed=seed,
            split=split,
            group_by=group_by,
            objects=objects,
            labels=labels,
            image_labels=image_labels,
            events=events,
        )
    if as_json:
        print_json(found.to_json())
    else:
        typer.echo("\n".join(found.lines()))
