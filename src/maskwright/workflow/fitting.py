"""What of a run's configuration follows from the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from maskwright import geometry
from maskwright.config import DataConfig, RunConfig
from maskwright.data.check import CheckReport
from maskwright.data.image_labels import (
    NO_LABELS,
    ImageLabels,
    image_labels,
    labels_by_name,
)
from maskwright.data.intensity import measure
from maskwright.data.intensity_choice import choose_ways, fit_channels
from maskwright.data.object_target import check_target
from maskwright.data.sampler import Source
from maskwright.data.split import Split
from maskwright.data.target_spacing import choose_spacing, network_size
from maskwright.errors import ConfigError, DataError
from maskwright.loss_terms import needed_maps
from maskwright.plan.network_choice import patch_of
from maskwright.train.objective import Objective


def fit_to_data(config: RunConfig, report: CheckReport) -> RunConfig:
    """The configuration for a data set: channels, classes, label values, and a legal patch.

    Args:
        config: What was asked for.
        report: The checked data set.

    Returns:
        The same with what follows from the data; patches are no larger than the images.

    Raises:
        DataError: ``check-no-classes`` without masks to learn from, and for image labels that do
            not fit.
        ConfigError: When a setting does not fit the data.
    """
    label_map = report.label_map
    if label_map is None:
        raise DataError(
            "check-no-classes",
            str(report.root),
            expected="masks with at least two classes",
            found="none",
            remedy="run `maskwright check` and follow its remedies",
        )
    check_target(config, label_map)
    data = config.data.model_copy(update=label_map.to_settings())
    _check_shares(config, report)
    of_images = labels_of_images(data, report)
    if of_images is None and config.model.image_classes:
        raise ConfigError(
            "image-labels-none",
            "--set model.image_classes",
            expected="image labels to learn from",
            found="none",
            remedy="say where they are: --image-labels labels.csv or contains:NAME",
        )
    image_classes = of_images.classes if of_images else ()
    data = data.model_copy(update={"image_class_names": image_classes})
    model = config.model.model_copy(
        update={
            "dims": len(next(iter(report.sizes))),
            "channels": report.channels,
            "classes": label_map.classes + (data.target == "border"),
            "image_classes": len(image_classes),
        }
    )
    sizes = [
        network_size(facts, data.spacing_mm, config.predict.pixel_mm)
        for facts in report.images.values()
    ]
    geometry.check_shape(config.train.patch_shape(model.dims), model, subject="--set patch_px")
    largest_px = [max(along) for along in zip(*sizes, strict=True)]
    patch_px = patch_of(config.train, model, largest_px)
    train = config.train.model_copy(update={"patch_px": patch_px})
    # Whatever the loss cannot do with these classes is said now, not after the run folder is made.
    Objective(train, model, pixels_per_class=(1,) * model.classes)
    return config.model_copy(update={"model": model, "data": data, "train": train})


def settle_spacing(config: RunConfig, report: CheckReport, split: Split) -> tuple[RunConfig, str]:
    """The pixel size that the network works at, from what was asked for and the training images.

    Args:
        config: What was asked for.
        report: The checked data set.
        split: Which images are for training, and which are kept for scores.

    Returns:
        The configuration with numbers or ``none``, and the reason, empty where there is nothing to
        tell.

    Raises:
        ConfigError: ``spacing-axes`` where a size for another number of axes was asked for.
        DataError: ``spacing-missing``.
    """
    target_mm, told = choose_spacing(
        config.data,
        {name: report.images[name] for name in split.train},
        scanned=report.scanned,
        held={name: report.images[name] for name in (*split.validation, *split.test)},
        pixel_mm=config.predict.pixel_mm,
    )
    data = config.data.model_copy(update={"spacing": target_mm or "none"})
    return config.model_copy(update={"data": data}), told


def settle_intensity(
    config: RunConfig, report: CheckReport, sources: Sequence[Source]
) -> tuple[RunConfig, list[Source], str]:
    """What is done to intensities, from what was asked for and the training images.

    Args:
        config: What was asked for.
        report: The checked data set.
        sources: The training images, on the network's grid.

    Returns:
        The configuration with the numbers of each channel, the images measured by it, and what it
        is and why.
    """
    if config.data.channel_intensity:
        return config, list(sources), ""
    channels = config.model.channels
    names = {source.name for source in sources}
    images = [facts for name, facts in report.images.items() if name in names]
    ways, told = choose_ways(config.data, images, channels)
    found = fit_channels(ways, config.data, sources)
    if not found:
        return config, list(sources), told
    data = config.data.model_copy(update={"channel_intensity": found})
    measured = [
        replace(source, intensity=measure(source.image_CYX, channels, found)) for source in sources
    ]
    windows = "; ".join(
        f"{way.low:.6g} to {way.high:.6g}"
        + ("" if way.mean is None else f", mean {way.mean:.4g}, standard deviation {way.std:.4g}")
        for way in found
        if way.low is not None
    )
    told += f" Found here: {windows}." if windows and config.data.window is None else ""
    return config.model_copy(update={"data": data}), measured, told


def labels_of_images(data: DataConfig, report: CheckReport) -> ImageLabels | None:
    """The class of each whole image, where the settings say where it is written.

    Without a setting they are those of a manifest; ``none`` leaves these out.

    Args:
        data: The data settings, classes included.
        report: The checked data set.

    Raises:
        DataError: As :func:`maskwright.data.image_labels.image_labels` does.
    """
    cases = [case for case in report.cases if case.mask is not None]
    names = [case.name for case in cases]
    if not data.image_labels:
        said = {case.name: case.image_label for case in cases}
        return labels_by_name(said, names, str(report.root)) if any(said.values()) else None
    if data.image_labels == NO_LABELS:
        return None
    class_names = [name for name, _ in data.labels]
    return image_labels(data.image_labels, names, class_names=class_names, present=report.present)


def _check_shares(config: RunConfig, report: CheckReport) -> None:
    """Refuse to share pixels between classes where nothing says how, or a loss cannot.

    Raises:
        ConfigError: ``annotators-soft``, ``annotators-missing`` or ``shares-border``.
    """
    data = config.data
    asked = "--set data.soft=true" if data.soft else "--set data.annotators=mean"
    if data.annotators == "mean" and data.soft:
        raise ConfigError(
            "annotators-soft",
            asked,
            expected="one way to share pixels between classes",
            found="also --set data.annotators=mean",
            remedy="leave one of them out",
        )
    if data.annotators == "mean" and all(case.second is None for case in report.cases):
        raise ConfigError(
            "annotators-missing",
            asked,
            expected="masks of a second person in a folder second_observer/",
            found="none",
            remedy="add this folder beside images/ and masks/, or leave the setting out",
        )
    if (data.soft or data.annotators == "mean") and "border_map" in needed_maps(config.train.loss):
        raise ConfigError(
            "shares-border",
            asked,
            expected="a loss that does not weigh borders",
            found=f"loss={config.train.loss}",
            remedy="use --set loss=dice+ce, which learns shares",
        )
