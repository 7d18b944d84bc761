"""Configuration: frozen, validated where it is born, JSON there and back.

A variation of the method is a field here, never a subclass or an environment variable.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import pydantic
from pydantic import BaseModel, Field

from maskwright.errors import ConfigError
from maskwright.intensity_config import ChannelIntensity as ChannelIntensity
from maskwright.intensity_config import listed_numbers
from maskwright.network_config import ModelConfig as ModelConfig
from maskwright.network_config import Section as _Section
from maskwright.train_config import AugmentConfig as AugmentConfig
from maskwright.train_config import NonNegative, Positive, Share
from maskwright.train_config import TrainConfig as TrainConfig

FORMAT_VERSION = 1

MaskKind = Literal["auto", "values", "bool", "palette", "rgb", "objects"]
MeasureGroup = Literal["surface", "objects", "partition", "topology", "calibration", "ranking"]


_AXES = Field(min_length=2, max_length=3)


class DataConfig(_Section):
    """How files become samples.

    Args:
        labels: Class names with the mask values that mean them, in class order, as
            ``(("cell", 255), ("membrane", 0))``; empty means: recognise them.
            A name given twice merges its values; RGB colours are written as ``0xRRGGBB``.
        mask_kind: How mask values are meant; ``auto`` recognises it.
        nearest_value: Whether a mask value that is none of the labels' is read as the nearest of
            them, as smoothed or JPEG masks need it.
        skip_unpaired: Whether images without a mask and masks without an image are left out
            instead of refused.
        group_by: Regular expression whose first group (or whole match) names what must not be
            split, such as a patient; ``None`` means: recognise it.
        target: What the network learns of masks that number objects: ``classes``, object or not,
            or ``border``, the interior of objects and their border, so that predicted objects that
            touch are told apart.
        roi: Which pixels count: ``auto`` those inside the masks of a folder such as ``roi/`` where
            there is one, in training and in scores; ``disc`` those in the lit disc of a fundus
            photograph, in scores only; ``none`` all.
        ignore: Mask value of pixels that do not count, neither in training nor in scores; colours
            as ``0xRRGGBB``.
        soft: Whether mask values between two classes are shares of them, as probabilities or the
            mean of several annotators are.
        annotators: What to learn where a second observer drew too: the ``first`` one's masks, or
            the ``mean`` of both.
        slices: Whether each slice of a stack is an image of its own.
        spacing: Pixel size in mm along each axis, in the order of the array (Z, Y, X), to which
            images are brought for the network; masks come back on each image's own grid. ``auto``
            does so where those of the training images differ, ``none`` never.
        intensity: What is done to the values of every channel, see
            :class:`maskwright.intensity_config.ChannelIntensity`; ``auto`` chooses from the data.
        window: Lowest and highest value that count, in the images' own unit, such as
            ``(-1000, 400)``.
        channel_intensity: What training found for each channel; z-score where it is empty.
        validation_share: Share of the groups kept from training to choose the best weights.
        test_share: Share of the groups never seen in training.
    """

    labels: tuple[tuple[str, int], ...] = ()
    mask_kind: MaskKind = "auto"
    nearest_value: bool = False
    skip_unpaired: bool = False
    group_by: str | None = None
    target: Literal["classes", "border"] = "classes"
    roi: Literal["auto", "disc", "none"] = "auto"
    ignore: Annotated[int, Field(ge=0)] | None = None
    soft: bool = False
    annotators: Literal["first", "mean"] = "first"
    slices: bool = False
    spacing: Literal["auto", "none"] | Annotated[tuple[Positive, ...], _AXES] = "auto"
    intensity: Literal["auto", "z-score", "window", "percentile"] = "auto"
    window: tuple[float, float] | None = None
    channel_intensity: tuple[ChannelIntensity, ...] = ()
    image_labels: str = ""
    image_class_names: tuple[str, ...] = ()
    validation_share: Share = 0.1
    test_share: Share = 0.2

    @property
    def spacing_mm(self) -> tuple[float, ...] | None:
        """Pixel size to which images are brought, where that is settled."""
        return self.spacing if isinstance(self.spacing, tuple) else None

    @pydantic.field_validator("window", mode="before")
    @classmethod
    def _window(cls, value: Any) -> Any:
        """Take ``-1000,400`` as a person types it."""
        return listed_numbers(value)

    @pydantic.field_validator("spacing", mode="before")
    @classmethod
    def _spacing(cls, value: Any) -> Any:
        """Take ``2,0.7,0.7`` as a person types it."""
        found = listed_numbers(value)
        if found not in ("auto", "none") and not isinstance(found, list | tuple):
            raise ValueError("auto, none, or a size in mm for each axis, such as 2,0.7,0.7")
        return found

    @pydantic.model_validator(mode="after")
    def _one_way(self) -> DataConfig:
        """A window that is given is a way of its own."""
        if self.window is not None and not self.window[0] < self.window[1]:
            raise ValueError("a window whose first value is below its second")
        if self.window is not None and self.intensity not in ("auto", "window"):
            raise ValueError("data.window with data.intensity=window or auto")
        return self


class PredictConfig(_Section):
    """Prediction.

    Args:
        tile_px: Largest side of the network's input.
        mirror_px: How far a padded network's image is mirrored beyond its border.
        engine: What runs the network: ``torch``, ``openvino`` or ``onnx`` (ONNX Runtime); ``auto``
            measures where enough is to be predicted, and is PyTorch elsewhere.
        precision: Number format; ``auto`` measures on the first tile. ``int8`` is for OpenVINO and
            a run that was quantised.
        tta: Predictions that are averaged: ``flip`` of every mirroring of the image, ``rotate`` of
            every quarter turn, ``scale`` of the image at each of ``scales``.
        scales: Sizes of the image for ``scale``, 1 being its own.
        gate: Whether a mask is emptied where the image's label says that it holds nothing; for
            image labels ``contains:NAME`` alone.
        objects: What an object is: ``components``, every connected piece of a class, or
            ``watershed``, pieces cut where they are narrow. ``auto`` lets the validation images
            choose where masks number their objects, and is ``components`` elsewhere.
        min_object_px: Objects of fewer pixels are left out; ``None`` is chosen likewise, 0
            elsewhere.
        pixel_mm: Pixel size along each axis (Z, Y, X) of images that do not state theirs, where
            the network needs it.
    """

    tile_px: Annotated[int, Field(ge=16)] = 1024
    mirror_px: Annotated[int, Field(ge=0)] = 32
    engine: Literal["auto", "torch", "openvino", "onnx"] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    tta: tuple[Literal["flip", "rotate", "scale"], ...] = ()
    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.71, 1.0, 1.41)
    gate: bool = False
    objects: Literal["auto", "components", "watershed"] = "auto"
    min_object_px: Annotated[int, Field(ge=0)] | None = None
    pixel_mm: Annotated[tuple[Positive, ...], _AXES] | None = None

    @property
    def object_method(self) -> str:
        """How objects are found, where nothing has chosen: connected pieces."""
        return "components" if self.objects == "auto" else self.objects

    @property
    def smallest_object_px(self) -> int:
        """Pixels that an object has at least."""
        return self.min_object_px or 0

    @pydantic.field_validator("pixel_mm", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        """Take ``2.5,0.7,0.7`` as a person types it."""
        return listed_numbers(value)

    @pydantic.field_validator("tta", "scales", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        """Take ``flip,scale`` and ``0.5,1,2`` as a person types them."""
        if isinstance(value, int | float):
            return (value,)
        if not isinstance(value, str):
            return value
        return _listed(value)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


class EvaluateConfig(_Section):
    """What is measured; overlap always is.

    Args:
        measures: Further groups of measures. Calibration and ranking need probabilities.
        tolerance: How far outlines may lie apart for the surface Dice, in mm, or in pixels where
            the pixel size is unknown.
        spacing_mm: Pixel size along each axis, in the order of the array (Z, Y, X), instead of
            what the files say.
        bins: Bins of the reliability curve.
    """

    measures: tuple[MeasureGroup, ...] = ("surface", "objects", "calibration", "ranking")
    tolerance: NonNegative = 1.0
    spacing_mm: tuple[Positive, ...] | None = None
    bins: Annotated[int, Field(ge=2, le=1000)] = 15

    @pydantic.field_validator("measures", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """Take ``surface,objects`` and ``all`` as a person types them."""
        if value == "all":
            return get_args(MeasureGroup)
        if not isinstance(value, str):
            return value
        return tuple(name for name in _listed(value) if name != "overlap")


class RunConfig(_Section):
    """Everything needed to repeat a run; ``config.json`` of the run folder."""

    version: int = FORMAT_VERSION
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    predict: PredictConfig = PredictConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


SectionT = TypeVar("SectionT", bound=_Section)


def validate(kind: type[SectionT], values: Mapping[str, Any], *, subject: str) -> SectionT:
    """A configuration from plain values, with errors that teach.

    Args:
        kind: The configuration class.
        values: Field names and values, nested as the class is.
        subject: What the values came from, for the message.

    Raises:
        ConfigError: For an unknown field (naming the nearest known one) or a value out of range.

    Example:
        >>> validate(ModelConfig, {"width": 32}, subject="--set").width
        32
    """
    try:
        return kind.model_validate(dict(values))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        where = f"{subject} {path}".strip()
        if first["type"] == "extra_forbidden":
            known = sorted(field_paths(kind))
            near = difflib.get_close_matches(path, known, n=1, cutoff=0.4)
            raise ConfigError(
                "config-unknown-key",
                where,
                expected="a known setting",
                found=repr(path),
                remedy=f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}",
            ) from error
        raise ConfigError(
            "config-value",
            where,
            expected=_plain(first["msg"]),
            found=repr(first.get("input")),
            remedy="change this value; `maskwright train --help` shows the form",
        ) from error


def _plain(message: str) -> str:
    text = message.removeprefix("Input should be ").removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def field_paths(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """All settings as dotted names, such as ``train.augment.flip``."""
    paths: list[str] = []
    for name, field in kind.model_fields.items():
        inner = _section_of(field.annotation)
        if inner is None:
            paths.append(prefix + name)
        else:
            paths += field_paths(inner, f"{prefix}{name}.")
    return paths


def _section_of(annotation: Any) -> type[BaseModel] | None:
    # A list of sections is one setting.
    inner = () if get_origin(annotation) is tuple else get_args(annotation)
    for candidate in (annotation, *inner):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def apply_settings(config: RunConfig, settings: tuple[str, ...]) -> RunConfig:
    """A copy with ``key=value`` settings applied; values are read as JSON, else as text.

    A key may be dotted (``train.batch``) or, where only one setting ends so, short (``batch``).

    Raises:
        ConfigError: For an unknown or ambiguous key, or an illegal value.

    Example:
        >>> apply_settings(RunConfig(), ("width=32", "loss=dice")).model.width
        32
    """
    values = config.model_dump()
    for setting in settings:
        *parents, leaf = setting_path(setting).split(".")
        text = setting.partition("=")[2]
        try:
            value: Any = json.loads(text)
        except json.JSONDecodeError:
            value = text
        target: dict[str, Any] = values
        for parent in parents:
            target = target[parent]
        target[leaf] = value
        if leaf == "steps":
            target["minutes"] = None
        elif leaf == "minutes":
            target["steps"] = None
    return validate(RunConfig, values, subject="--set")


def setting_path(setting: str) -> str:
    """The whole name of the field that a setting is of.

    Args:
        setting: ``key=value`` as :func:`apply_settings` takes it.

    Raises:
        ConfigError: ``config-unknown-key`` for an unknown or ambiguous key.

    Example:
        >>> setting_path("width=8")
        'model.width'
    """
    key, separator, _ = setting.partition("=")
    key = key.strip()
    known = field_paths(RunConfig)
    matches = [p for p in known if p == key] or [p for p in known if p.endswith("." + key)]
    if separator and len(matches) == 1:
        return matches[0]
    shorts = [p.rsplit(".", 1)[-1] for p in known]
    near = difflib.get_close_matches(key.rsplit(".", 1)[-1], shorts, n=1)
    remedy = f"did you mean {near[0]}?" if near else "see `maskwright train --help`"
    if len(matches) > 1:
        remedy = f"write one of {', '.join(matches)}"
    raise ConfigError(
        "config-unknown-key",
        f"--set {setting}",
        expected="key=value with a known key",
        found=repr(key),
        remedy=remedy,
    )


def parse_config(text: str, *, subject: str) -> RunConfig:
    """A configuration from the text of a ``config.json``.

    Raises:
        ConfigError: With the line of a JSON error, for a duplicate key, for a run made by a
            newer version, and for whatever :func:`validate` refuses.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise ConfigError(
                    "config-duplicate-key",
                    subject,
                    expected="each key once",
                    found=f"{key!r} twice",
                    remedy="delete one of them",
                )
        return dict(pairs)

    try:
        values = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ConfigError(
            "config-json",
            f"{subject} line {error.lineno}",
            expected="JSON",
            found=error.msg,
            remedy="mend that line",
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(
            "config-json",
            subject,
            expected="a JSON object",
            found=type(values).__name__,
            remedy="restore the file",
        )
    version = values.get("version", FORMAT_VERSION)
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ConfigError(
            "config-newer",
            subject,
            expected=f"a run of format {FORMAT_VERSION} or older",
            found=f"format {version}",
            remedy="update maskwright with `pip install -U maskwright`",
        )
    return validate(RunConfig, values, subject=subject)
