"""From what a person typed to one validated configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from maskwright.config import DataConfig, RunConfig, apply_settings, setting_path, validate
from maskwright.errors import ConfigError

if TYPE_CHECKING:
    from maskwright.workflow.starting import Start

DEFAULT_MINUTES = 10.0

_BUDGET = frozenset({"train.minutes", "train.steps", "train.seed", "train.start_from"})


def resolve(
    *,
    preset: str = "unet",
    start: Start | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int | None = None,
    group_by: str | None = None,
    objects: bool | None = None,
    labels: str | None = None,
    image_labels: str | None = None,
    settings: Sequence[str] = (),
    dims: int | None = None,
    slices: bool = False,
    plan: RunConfig | None = None,
) -> RunConfig:
    """The configuration of a run; later arguments override the preset.

    Args:
        preset: Named starting point.
        start: The run to begin with, whose network takes the place of the preset's.
        minutes: Time budget.
        steps: Number of updates instead.
        seed: Seed of everything random.
        group_by: Regular expression that names what must not be split.
        objects: Whether mask values number objects; recognised by default.
        labels: ``name=value,name=value`` in class order, the background first.
        image_labels: What says the class of a whole image.
        settings: ``key=value`` for any field, applied last.
        dims: 2 for images, 3 for volumes, whose starting point is another; ``None`` where it is
            not known yet.
        slices: Whether each slice of a stack is an image of its own, unless a setting says more.
        plan: The configuration of a saved plan, which takes the place of the preset.

    Raises:
        ConfigError: For an unknown preset or key, or an illegal value.

    Example:
        >>> resolve(minutes=5, settings=("width=8",)).model.width
        8
    """
    from maskwright.nn.presets import preset as named

    if minutes is not None and steps is not None:
        raise ConfigError(
            "config-two-budgets",
            "--minutes and --steps",
            expected="one of them",
            found="both",
            remedy="leave one out",
        )
    usual = start.dims if start else 2
    dims = usual if dims is None else dims
    values: dict[str, Any] = (plan or named(preset, dims=dims)).model_dump()
    if start is not None:
        start.check_dims(values["model"]["dims"])
        for section, fields in start.settings().items():
            values[section].update(fields)
    if minutes is not None or steps is not None:
        values["train"].update(minutes=minutes, steps=steps)
    if seed is not None:
        values["train"]["seed"] = seed
    values["data"].update(_data_values(group_by=group_by, objects=objects, labels=labels))
    if slices:
        values["data"]["slices"] = True
    if image_labels is not None:
        values["data"]["image_labels"] = image_labels
    begun = validate(RunConfig, values, subject="train")
    config = apply_settings(begun, tuple(settings))
    if config.train.start_from != begun.train.start_from:
        raise ConfigError(
            "from-setting",
            "--set train.start_from",
            expected="--from RUN",
            found="a setting, which takes no weights",
            remedy=f"write --from {config.train.start_from}",
        )
    if config.train.minutes is None and config.train.steps is None:
        train = config.train.model_copy(update={"minutes": DEFAULT_MINUTES})
        config = config.model_copy(update={"train": train})
    return config


def given_settings(
    *, preset: str | None = None, start: Start | None = None, settings: Sequence[str] = ()
) -> dict[str, str]:
    """The settings that are not a plan's to choose, by dotted name, and what set each.

    Args:
        preset: The preset that was asked for; ``None`` for none.
        start: The run to begin with.
        settings: ``key=value`` for any field.

    Raises:
        ConfigError: For an unknown preset or key.

    Example:
        >>> given_settings(preset="small", settings=("batch=2",))
        {'model.levels': '--preset small', 'model.width': '--preset small', 'train.batch': '--set'}
    """
    from maskwright.nn.presets import PRESETS

    given: dict[str, str] = {}
    if start is not None:
        taken = start.settings()
        given |= {f"{s}.{name}": f"--from {start.name}" for s in taken for name in taken[s]}
        given["data.target"] = f"--from {start.name}"
    if preset is not None:
        # A network that was asked for by its name is not to get heads of the plan's.
        given["model.levels"] = f"--preset {preset}"
    for section, fields in PRESETS.get(preset or "", {}).items():
        given |= {f"{section}.{name}": f"--preset {preset}" for name in fields}
    given |= {setting_path(setting): "--set" for setting in settings}
    return {path: by for path, by in given.items() if path not in _BUDGET}


def resolve_data(
    *,
    group_by: str | None = None,
    objects: bool | None = None,
    labels: str | None = None,
    settings: Sequence[str] = (),
) -> DataConfig:
    """The part of the configuration that says how files are read.

    Arguments as in :func:`resolve`; needs no framework.

    Example:
        >>> resolve_data(objects=True).mask_kind
        'objects'
    """
    values = {"data": _data_values(group_by=group_by, objects=objects, labels=labels)}
    return apply_settings(validate(RunConfig, values, subject="check"), tuple(settings)).data


def _data_values(
    *, group_by: str | None, objects: bool | None, labels: str | None
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if group_by is not None:
        values["group_by"] = group_by
    if objects is not None:
        values["mask_kind"] = "objects" if objects else "values"
    if labels is not None:
        values["labels"] = parse_labels(labels)
    return values


def parse_labels(text: str) -> tuple[tuple[str, int], ...]:
    """Class names and mask values from ``name=value,name=value``.

    Raises:
        ConfigError: When the form is another.

    Example:
        >>> parse_labels("cell=255,membrane=0")
        (('cell', 255), ('membrane', 0))
        >>> parse_labels("vessel=0xff0000")
        (('vessel', 16711680),)
    """
    pairs = []
    for part in text.split(","):
        name, separator, value = part.strip().partition("=")
        try:
            number = int(value, 0)
        except ValueError:
            separator = ""
            number = 0
        if not separator or not name:
            raise ConfigError(
                "labels-form",
                "--labels",
                expected="name=value,name=value",
                found=repr(text),
                remedy="write for example --labels background=0,cell=255",
            )
        pairs.append((name.strip(), number))
    return tuple(pairs)
