"""Commands that train, predict and describe networks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.application import (
    Data,
    GroupBy,
    ImageLabels,
    Json,
    Labels,
    Minutes,
    ObjectIds,
    Preset,
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
    print_summary,
    read_summary,
)


@app.command()
def check(
    data: Data,
    labels: Labels = None,
    objects: ObjectIds = None,
    group_by: GroupBy = None,
    settings: Settings = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="List every image and its mask.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what is there, what is wrong, and what each mask value means.

    Example: maskwright check data
    """
    from maskwright.data.check import check_dataset
    from maskwright.workflow.settings import resolve_data

    config = resolve_data(
        group_by=group_by, objects=objects, labels=labels, settings=tuple(settings or ())
    )
    with listening(quiet) as events:

        def on_case(number: int, of: int, name: str) -> None:
            events.send("reading", number=number, images=of, name=name)

        report = check_dataset(data, config, on_case=on_case)
    if as_json:
        print_json(report.to_json())
    elif not quiet:
        typer.echo("\n".join([*(report.pairs() if pairs else ()), *report.lines()]))
    else:
        report.raise_if_refused()
    if not report.ok:
        raise typer.Exit(2)


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Run folder to make.", show_default=False)],
    minutes: Minutes = None,
    steps: Steps = None,
    preset: StartPreset = None,
    start_from: StartFrom = None,
    plan: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A plan of `maskwright plan --json`, as it is."),
    ] = None,
    settings: Settings = None,
    seed: Seed = None,
    split: SplitFile = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Cross-validation: so many networks, each scored on what it never saw; --minutes "
            "is for all of them. Prediction averages them.",
            show_default="one network",
        ),
    ] = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Images without masks: a first network draws them, a second learns from those "
            "that it is sure of.",
        ),
    ] = None,
    group_by: GroupBy = None,
    objects: ObjectIds = None,
    labels: Labels = None,
    image_labels: ImageLabels = None,
    deterministic: Annotated[
        bool,
        typer.Option("--deterministic", help="The same bytes of weights again; needs --steps."),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write curves for TensorBoard into RUN.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    quiet: Quiet = False,
) -> None:
    """Train a U-Net, score it on held-out images and write a report.

    Depth, width, patches and the rest follow from the data, this machine and the time; see
    maskwright plan. Whatever is set with --set or --preset stays as it is.

    Example: maskwright train data --out runs/cells --minutes 10
    """
    begun_s = time.monotonic()  # loading the framework is a part of the time
    from maskwright.train.distributed import writes_results
    from maskwright.workflow.launching import launch

    with listening(quiet or not writes_results()) as events:
        run = launch(
            data,
            out,
            folds=folds,
            unlabelled=unlabelled,
            minutes=minutes,
            steps=steps,
            preset=preset,
            start_from=start_from,
            plan=plan,
            settings=tuple(settings or ()),
            seed=seed,
            split=split,
            group_by=group_by,
            objects=objects,
            labels=labels,
            image_labels=image_labels,
            deterministic=deterministic,
            tensorboard=tensorboard,
            resume=resume,
            begun_s=begun_s,
            events=events,
        )
    if not writes_results():
        return
    print_summary(read_summary(run.metrics()["summary"]))
    typer.echo(f"report: {run.folder.report}")


@app.command()
def predict(
    run: Annotated[
        Path,
        typer.Argument(
            help="Run folder, exported .onnx or .xml, or bioimage.io package.", show_default=False
        ),
    ],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT…", help="Folders, files or globs.")],
    out: Annotated[Path, typer.Option(help="Folder for the masks.", show_default=False)],
    tile: Annotated[
        int | None, typer.Option(min=16, help="Largest tile side, for less memory.")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write every class's probability.")
    ] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Also write maps of how unsure each pixel is.")
    ] = False,
    levels: Annotated[
        bool,
        typer.Option("--levels", help="Also draw what each level of the decoder predicts."),
    ] = False,
    tta: Annotated[
        str | None,
        typer.Option(
            metavar="flip,rotate,scale|none",
            help="Average over mirrorings, quarter turns and sizes of the image; any of the three.",
            show_default="as in the run",
        ),
    ] = None,
    gate: Annotated[
        bool | None,
        typer.Option(
            "--gate/--no-gate",
            help="Pixels of a class become background where the image's label says that there is "
            "none; for image_labels=contains:NAME.",
            show_default="as in the run",
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="2GB",
            help="Memory to stay within; images that exceed it are predicted tile by tile.",
            show_default="2GB",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="auto|torch|openvino|onnx",
            help="What runs the network; auto measures all that are installed where predicting "
            "takes minutes.",
            show_default="as in the run",
        ),
    ] = None,
    objects: Annotated[
        bool,
        typer.Option(
            "--objects",
            help="Also number and measure the objects: objects/, a table, outlines for QuPath. "
            "What an object is: --set objects=components or watershed, --set min_object_px=N.",
        ),
    ] = False,
    table: Annotated[
        str, typer.Option(metavar="csv|parquet", help="Form of the table of --objects.")
    ] = "csv",
    mask_format: Annotated[
        str,
        typer.Option(
            metavar="auto|png|tiff|nifti|mha|nrrd|zarr|dicom-seg",
            help="File format of the masks; auto takes that of the image, NIfTI for DICOM series.",
        ),
    ] = "auto",
    settings: Settings = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace masks.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a prediction that was interrupted.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Predict with so many processes of this machine, which share cores and --memory.",
            show_default="this process alone",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="tcp://HOST:8786",
            help="Predict with the workers of a scheduler of Dask, on machines that share the "
            "images and --out.",
            show_default="none",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a mask for each image, of any size.

    A network that labels whole images also writes image_labels.csv; the label's probabilities are
    the mean over the tiles, weighted by the area of each.

    Example: maskwright predict runs/cells new/ --out masks --tta flip

    On four processes: maskwright predict runs/cells new/ --out masks --workers 4
    """
    from maskwright.workflow.prediction import SUMMARY_NAME
    from maskwright.workflow.prediction import predict as run_prediction

    with listening(quiet) as events:
        found = run_prediction(
            run,
            inputs,
            out,
            tile=tile,
            probabilities=probabilities,
            uncertainty=uncertainty,
            levels=levels,
            tta=tta,
            gate=gate,
            memory=memory,
            engine=engine,
            objects=objects,
            table=table,
            mask_format=mask_format,
            settings=tuple(settings or ()),
            overwrite=overwrite,
            resume=resume,
            workers=workers,
            scheduler=scheduler,
            events=events,
        )
    if as_json:
        typer.echo((found.folder / SUMMARY_NAME).read_text(encoding="utf-8"), nl=False)
    else:
        typer.echo(f"{len(found)} masks in {found.folder}")


@app.command()
def describe(
    preset: Preset = "unet",
    input_px: Annotated[
        str | None,
        typer.Option("--input", help="Size in pixels: 572, or one number an axis, 116x132x132."),
    ] = None,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Print a network's layers, sizes, parameters, FLOPs and receptive field.

    Example: maskwright describe --preset ronneberger2015 --input 572
    """
    from maskwright.workflow.description import describe as build_description
    from maskwright.workflow.description import table

    found = build_description(preset=preset, input_px=input_px, settings=tuple(settings or ()))
    if as_json:
        print_json(found)
    else:
        typer.echo("\n".join(table(found)))


@app.command()
def sample(
    name: Annotated[str, typer.Argument(help="membranes.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to make.", show_default=False)],
    images: Annotated[int, typer.Option(help="Number of images.")] = 24,
    size: Annotated[int, typer.Option(help="Side in pixels.")] = 256,
    seed: Annotated[int, typer.Option(help="Same seed, same files.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a sample.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write the embedded sample: simulated images with their masks.

    Example: maskwright sample membranes --out sample --images 24
    """
    from maskwright.data.sample import write_sample

    write_sample(name, out, images=images, size_px=size, seed=seed, overwrite=overwrite)
    if not quiet:
        typer.echo(f"{images} simulated images with masks in {out} (not real data)")


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Argument(help="Your own folder instead of the sample.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything.")] = Path("demo-run"),
    minutes: Annotated[float, typer.Option(min=0.05, help="Training time.")] = 2.5,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier demonstration.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Go the whole way in a few minutes: sample, train, predict, evaluate, report.

    Example: maskwright demo --out demo-run
    """
    from maskwright.workflow.demonstration import demonstrate

    with listening(quiet) as events:
        shown = demonstrate(data, out, minutes=minutes, overwrite=overwrite, events=events)
    typer.echo("")
    print_summary(shown.evaluation.summary)
    typer.echo("")
    for method, values in shown.run.metrics()["baselines"].items():
        dice = read_summary(values).headline.mean
        typer.echo(f"for comparison, {method}: mean Dice {dice:.3f}")
    if shown.simulated:
        typer.echo("These images are simulated; nothing here is a measurement.")
    typer.echo(f"masks:  {shown.masks}")
    typer.echo(f"report: {shown.run.folder.report}")
