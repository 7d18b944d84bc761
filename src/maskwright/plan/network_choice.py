"""Which networks, patches and batches are possible: in the images, in memory, in the time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maskwright.config import ModelConfig, RunConfig, TrainConfig
from maskwright.data.spacing import thick_axis
from maskwright.geometry import axes_of
from maskwright.plan import rules
from maskwright.plan.fingerprint import Fingerprint
from maskwright.plan.hardware import MachineFacts
from maskwright.plan.memory import legal_patch, training_bytes


@dataclass(frozen=True)
class Room:
    """The data and the machine that a network has to fit.

    Args:
        facts: The data.
        machine: The machine.
    """

    facts: Fingerprint
    machine: MachineFacts

    def fits(self, config: RunConfig) -> bool:
        """Whether an update fits the memory; it does where the memory is not known."""
        limit = self.machine.memory_bytes
        if limit is None:
            return True
        shape = config.train.patch_shape(config.model.dims)
        needed = training_bytes(config.model, shape, config.train.batch)
        return needed <= rules.MEMORY_SHARE * limit


def longest_step_s(width: int, minutes: float) -> float:
    """How long an update of this width may take.

    Args:
        width: One of :data:`maskwright.plan.rules.WIDTHS`.
        minutes: Time of the run.

    Example:
        >>> longest_step_s(16, 10), longest_step_s(16, 2), longest_step_s(16, 30)
        (0.4, 0.4, 1.2)
    """
    updates = dict(rules.WIDTHS)[width]
    return 60 * max(minutes, rules.FULL_MINUTES) / updates if updates else math.inf


def least_steps(width: int, minutes: float) -> int:
    """How many updates must fit the time so that this width is used.

    Example:
        >>> least_steps(16, 10), least_steps(16, 2)
        (1500, 300)
    """
    return round(60 * minutes / longest_step_s(width, minutes))


def with_width(config: RunConfig, width: int) -> RunConfig:
    """The configuration with a network of another width."""
    return _with_model(config, width=width)


def allowed_widths(room: Room, config: RunConfig) -> tuple[int, ...]:
    """Widths that fit memory and time, the smallest always.

    Without measured updates, or where their number was asked for, none is wider than the usual.

    Args:
        room: Data and machine.
        config: The configuration with its patch and batch.
    """
    if config.model.norm == "group":
        return (config.model.width,)  # its groups may not divide another
    (smallest, _), *others = rules.WIDTHS
    minutes, machine = config.train.minutes, room.machine
    found = [smallest]
    for width, _ in others:
        measured = machine.step_of(width)
        if minutes is None or not machine.steps:
            quick = width <= config.model.width
        else:
            quick = measured is not None and measured.step_s <= longest_step_s(width, minutes)
        if not quick or not _fits_deeper(room, with_width(config, width)):
            break
        found.append(width)
    return tuple(found)


def next_width(room: Room, config: RunConfig, given: Mapping[str, str]) -> int | None:
    """The width whose updates should be measured next, or ``None`` where enough is known.

    Args:
        room: Data and machine, with what was measured so far.
        config: The configuration with its patch and batch.
        given: What is not the plan's to choose.
    """
    machine, minutes = room.machine, config.train.minutes
    if minutes is None:
        return None
    if not machine.steps:
        return config.model.width
    if "model.width" in given or "model.widths" in given:
        return None
    width = allowed_widths(room, config)[-1]
    measured = machine.step_of(width)
    if measured is None:
        return width
    wider = next((w for w, _ in rules.WIDTHS if w > width), None)
    if wider is None or machine.step_of(wider) is not None:
        return None
    expected_s = measured.step_s * rules.DOUBLED_COST ** math.log2(wider / width)
    quick = expected_s <= longest_step_s(wider, minutes)
    return wider if quick and _fits_deeper(room, with_width(config, wider)) else None


def _fits_deeper(room: Room, config: RunConfig) -> bool:
    """Whether a network fits the memory, and with one more pooling too.

    More time may bring that pooling, and must not take width away.
    """
    planned = deeper(room.facts, config)
    return room.fits(config) and (planned is None or room.fits(planned))


def anisotropic(facts: Fingerprint, config: RunConfig, depth: int) -> RunConfig:
    """The configuration with kernels and strides for voxels that are long along one axis.

    That axis is pooled, and convolved, from the level on whose voxels are less than
    :data:`maskwright.plan.rules.THICK` times as long along it.

    Args:
        facts: The data.
        config: The configuration so far; returned as it is for other voxels.
        depth: Poolings.

    Source: Isensee et al. 2021, doi 10.1038/s41592-020-01008-z, whose kernels and strides follow
        from the voxels in this way.
    """
    thick = thick_axis(facts.spacing_mm) if facts.dims == 3 else None
    if thick is None or facts.spacing_mm is None:
        return config
    ratio = facts.spacing_mm[thick] / sorted(facts.spacing_mm)[-2]
    long = [ratio / 2**level >= rules.THICK for level in range(depth + 1)]
    return _with_model(
        config,
        depth=depth,
        kernels=tuple(tuple(1 if a == thick and here else 3 for a in range(3)) for here in long),
        strides=tuple(
            tuple(1 if a == thick and here else 2 for a in range(3)) for here in long[:-1]
        ),
    )


def roomy_depth(facts: Fingerprint, model: ModelConfig) -> int:
    """The network's depth, or less where usual images would shrink to too few pixels.

    Args:
        facts: The data.
        model: The network; its strides hold.
    """
    strides = model.level_strides

    def is_roomy(depth: int) -> bool:
        return all(
            -(-size // math.prod(step[axis] for step in strides[:depth])) >= rules.LOWEST_PX
            for axis, size in enumerate(facts.size_px)
        )

    # The skip of the first level has no gate, so that gates need two poolings.
    least = min(model.depth, 2 if model.attention else 1)
    return next((depth for depth in range(model.depth, least, -1) if is_roomy(depth)), least)


def with_depth(facts: Fingerprint, config: RunConfig, depth: int) -> RunConfig:
    """The configuration with another depth, and with kernels and strides to it."""
    if config.model.strides is not None:
        return anisotropic(facts, config, depth)
    return _with_model(config, depth=depth)


def receptive_field(model: ModelConfig) -> int:
    """How many pixels a network sees across, along the axis along which it sees least."""
    return min(axis.receptive_field for axis in axes_of(model))


def deeper(facts: Fingerprint, config: RunConfig) -> RunConfig | None:
    """The configuration with one more pooling, where images and patch have room for it."""
    if config.model.widths is not None or (config.model.kernels and not config.model.strides):
        return None  # lists with an entry for each level
    planned = with_depth(facts, config, config.model.depth + 1)
    shape = planned.train.patch_shape(planned.model.dims)
    legal = all(
        axis.is_legal(side) for axis, side in zip(axes_of(planned.model), shape, strict=True)
    )
    roomy = legal and roomy_depth(facts, planned.model) == planned.model.depth
    return planned if roomy else None


def patch_of(
    train: TrainConfig, model: ModelConfig, largest_px: Sequence[int]
) -> int | tuple[int, ...]:
    """The patch that was asked for, no larger than the images need.

    In volumes one number is an upper limit: a patch then holds at most 64³ voxels.

    Args:
        train: Names the size.
        model: The network.
        largest_px: Largest size of an image along each axis.
    """
    one = isinstance(train.patch_px, int)
    if model.dims == 2 and one:
        largest_px = [max(largest_px)] * 2  # a square patch may be turned by 90 degrees
    most_px = rules.VOLUME_PATCH_PX if model.dims == 3 and one else None
    patch = legal_patch(model, train.patch_shape(model.dims), largest_px, most_px=most_px)
    return patch[0] if len(set(patch)) == 1 else patch


def fitting_patch(
    room: Room, config: RunConfig, given: Mapping[str, str]
) -> tuple[RunConfig, bool]:
    """The configuration with a patch and a batch for the images and the memory.

    Where memory is short, fewer patches make a step, then smaller ones.

    Args:
        room: Data and machine.
        config: The configuration with its network.
        given: What is not the plan's to choose.

    Returns:
        The configuration, and whether memory was short.
    """
    model, free = config.model, "train.patch_px" not in given
    if free:
        config = _with_train(config, patch_px=rules.PATCH_PX)
    config = _with_train(config, patch_px=patch_of(config.train, model, room.facts.largest_px))
    short = False
    while not room.fits(config):
        batch = config.train.batch
        if batch > 1 and "train.batch" not in given:
            config, short = _with_train(config, batch=batch // 2), True
            continue
        smaller = _smaller_patch(config) if free else None
        if smaller is None:
            break
        config, short = smaller, True
    return config, short


def _smaller_patch(config: RunConfig) -> RunConfig | None:
    shape, model = config.train.patch_shape(config.model.dims), config.model
    least = rules.SMALLEST_PATCH_PX[model.dims]
    sides = []
    for axis, side in zip(axes_of(model), shape, strict=True):
        smaller = axis.previous_legal(max(min(least, side), side * 3 // 4)) or side
        sides.append(min(side, smaller))
    if tuple(sides) == shape:
        return None
    return _with_train(config, patch_px=sides[0] if len(set(sides)) == 1 else tuple(sides))


def _with_model(config: RunConfig, **fields: object) -> RunConfig:
    return config.model_copy(update={"model": config.model.model_copy(update=fields)})


def _with_train(config: RunConfig, **fields: object) -> RunConfig:
    return config.model_copy(update={"train": config.train.model_copy(update=fields)})
