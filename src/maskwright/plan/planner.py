"""From facts to a configuration: the same facts give the same plan, and nothing is measured here.

What a person or a preset set is left as it is and named. Where nothing speaks against it, a
choice is the usual one, that of :mod:`maskwright.nn.presets`; the numbers are those of
:mod:`maskwright.plan.rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from maskwright.config import RunConfig
from maskwright.data.image_labels import CONTAINS
from maskwright.loss_terms import needed_maps
from maskwright.plan import rules
from maskwright.plan.board import Board
from maskwright.plan.choice import Plan
from maskwright.plan.fingerprint import Fingerprint
from maskwright.plan.hardware import MachineFacts
from maskwright.plan.memory import training_bytes
from maskwright.plan.network_choice import (
    Room,
    allowed_widths,
    anisotropic,
    deeper,
    fitting_patch,
    least_steps,
    receptive_field,
    roomy_depth,
    with_depth,
)
from maskwright.plan.training_choice import choose_prediction, choose_training

_NOTHING: Mapping[str, str] = MappingProxyType({})
_LISTS = ("model.widths", "model.kernels", "model.strides")


def plan_run(
    facts: Fingerprint,
    machine: MachineFacts,
    base: RunConfig,
    given: Mapping[str, str] = _NOTHING,
) -> Plan:
    """The configuration of a run and every choice in it.

    Args:
        facts: The data.
        machine: The machine; without measured updates the width is the usual one.
        base: The usual configuration with what was asked for, the time or the updates included.
        given: Settings that are not the plan's to choose, by dotted name, and who set each.

    Example:
        >>> facts = Fingerprint(2, (20, 2, 5), 27, 1, (512, 512), (512, 512), (512, 512), None,
        ...                     (5242880, 524288, 1310720), "values", ())
        >>> plan = plan_run(facts, MachineFacts(), RunConfig())
        >>> plan.config.train.patch_px, plan.config.model.depth, plan.config.model.width
        (256, 4, 16)
    """
    board = Board(facts, machine, base, given)
    choose_data(board)
    choose_network(board)
    choose_training(board)
    choose_prediction(board)
    return board.plan()


def choose_data(board: Board) -> None:
    """What images are for the network, and what it learns of masks."""
    facts, data = board.facts, board.config.data
    kind = "volumes" if facts.dims == 3 else "planes"
    if data.slices:
        board.note(
            "data.slices", True, f"{facts.cases[0]} slices are learnt one by one.",
            "Stacks with more slices, or --set data.slices=false.",
        )  # fmt: skip
    board.note(
        "model.dims", facts.dims, f"The images are {kind}.",
        "Stacks are volumes unless --set data.slices=true.",
    )  # fmt: skip
    spacing = data.spacing_mm
    board.note(
        "data.spacing",
        "none" if spacing is None else list(spacing),
        "Images are used at their own pixel size."
        if spacing is None
        else "Images differ in pixel size and are brought to one.",
        "Pixel sizes that differ by more than a factor of 1.2, or --set data.spacing.",
    )
    board.note(
        "split", ", ".join(map(str, facts.cases)),
        f"{facts.cases[0]} images are learnt, {facts.cases[1]} choose the best weights and "
        f"{facts.cases[2]} are the test.",
        "Only --split, or --set test_share and validation_share.",
    )  # fmt: skip
    _choose_target(board)


def _choose_target(board: Board) -> None:
    facts, config = board.facts, board.config
    if facts.mask_kind != "objects":
        return
    share = f"{facts.touching:.0%} of the numbered objects touch another"
    extent_px = max((c.extent_px for c in facts.classes[1:]), default=0.0)
    legal = (
        config.model.output == "softmax"
        and "border_map" not in needed_maps(config.train.loss)
        and not config.data.image_labels.startswith(CONTAINS)
        and not config.data.soft
        and config.data.annotators == "first"
    )
    many = facts.touching >= rules.TOUCHING_SHARE
    large = extent_px >= rules.SMALLEST_BORDERED_PX
    if legal and many and large:
        board.choose(
            "data.target", "border",
            f"{share}, and a border that is learnt tells them apart.",
            f"Less than {rules.TOUCHING_SHARE:.0%}, or masks without numbers.",
        )  # fmt: skip
    elif "data.target" in board.given or legal:
        small = "" if large else f", and they are only {extent_px:g} pixels long"
        board.choose(
            "data.target", "classes", f"{share}{small}.",
            f"At least {rules.TOUCHING_SHARE:.0%}, of objects of "
            f"{rules.SMALLEST_BORDERED_PX:g} pixels and more.",
        )  # fmt: skip


def choose_network(board: Board) -> None:
    """Depth, patch, batch and width."""
    facts, base = board.facts, board.config
    # Lists have an entry for each level, so that the depth is theirs.
    lists = [board.given[path] for path in _LISTS if path in board.given]
    if lists:
        board.given = {"model.depth": lists[0], **board.given}
    if "model.widths" in board.given:
        board.given = {"model.width": board.given["model.widths"], **board.given}
    free = "model.depth" not in board.given and base.model.padding == "same"
    if free:
        _choose_axes(board)
    room = Room(facts, board.machine)
    depth = roomy_depth(facts, board.config.model) if free else base.model.depth
    if depth != board.config.model.depth:
        board.config = with_depth(facts, board.config, depth)
    reach = receptive_field(board.config.model)
    needs = f"Its lowest level has at least {rules.LOWEST_PX} pixels along each side"
    if _object_px(board) <= reach:
        sees = f", and it sees {reach} pixels across."
    else:
        sees = f"; it sees {reach} pixels across, fewer than the {_object_px(board):g} of objects."
    board.choose(
        "model.depth", depth, needs + sees,
        f"Smaller images, or objects of more than {reach} pixels where there are "
        f"{rules.DEEPER_FROM_MINUTES:g} minutes or more.",
    )  # fmt: skip
    _choose_levels(board)
    _choose_patch(board, room)
    _choose_width(board, room)
    if free:
        _choose_deeper(board, room)
    single = board.config.train.batch == 1 and "train.batch" not in board.given
    board.choose(
        "model.norm", "instance" if single else base.model.norm,
        "A batch of one patch has no statistics of its own."
        if single
        else "Batch normalisation trained best in the comparisons, and costs nothing later.",
        "Memory for only one patch a step.",
    )  # fmt: skip


def _choose_levels(board: Board) -> None:
    if board.config.model.depth == 1:
        return  # its only level is the final one
    board.choose(
        "model.levels", "fused",
        "Every level of the decoder predicts, and what they say is fused: on most sets that were "
        "tried this found more in the same time.",
        "Only --set levels=none, or a preset.",
    )  # fmt: skip


def _choose_axes(board: Board) -> None:
    planned = anisotropic(board.facts, board.config, board.config.model.depth)
    if planned is board.config:
        return
    board.config = planned
    spacing = board.facts.spacing_mm or ()
    longest = max(spacing) / sorted(spacing)[-2]
    board.note(
        "model.strides", board.value("model.strides"),
        f"Voxels are {longest:.2g} times as long along one axis, which is pooled later.",
        f"Voxels less than {rules.THICK:g} times as long, or another data.spacing.",
    )  # fmt: skip


def _choose_patch(board: Board, room: Room) -> None:
    facts = board.facts
    board.config, shortened = fitting_patch(room, board.config, board.given)
    patch, batch = board.config.train.patch_px, board.config.train.batch
    limit = "the memory allows no more" if shortened else "that is the usual size"
    largest = "×".join(map(str, facts.largest_px))
    shape = board.config.train.patch_shape(facts.dims)
    if not shortened and min(shape) < rules.PATCH_PX:
        limit = (
            f"the largest image is {largest}"
            if facts.dims == 2
            else f"the largest volume is {largest} and {rules.VOLUME_PATCH_PX} voxels are "
            "quickly learnt"
        )
    board.choose(
        "train.patch_px", patch, limit[:1].upper() + limit[1:] + ".",
        "Other image sizes or less memory.",
    )  # fmt: skip
    needed = training_bytes(board.config.model, shape, batch) / 2**30
    board.choose(
        "train.batch", batch, f"A step then takes about {needed:.2g} GiB.",
        "Less memory." if board.machine.memory_bytes else "A machine that tells its memory.",
    )  # fmt: skip


def _choose_width(board: Board, room: Room) -> None:
    config, minutes = board.config, board.minutes
    width = allowed_widths(room, config)[-1]
    if minutes is None or "model.width" in board.given or not board.machine.steps:
        board.choose(
            "model.width", width, "It is the usual one, as no time was measured.",
            "A time with --minutes, for which updates are measured.",
        )  # fmt: skip
        return
    measured = board.machine.step_of(width)
    told = ""
    if measured is not None:
        told = f", and about {round(60 * minutes / measured.step_s)} fit {minutes:g} minutes"
    wider = next((w for w, _ in rules.WIDTHS if w > width), None)
    board.choose(
        "model.width", width,
        f"It is used from {least_steps(width, minutes)} updates on{told}.",
        "Nothing that is measured."
        if wider is None
        else f"Time or a machine for {least_steps(wider, minutes)} updates of width {wider}.",
    )  # fmt: skip


def _choose_deeper(board: Board, room: Room) -> None:
    depth = board.config.model.depth
    if board.minutes is None or board.minutes < rules.DEEPER_FROM_MINUTES:
        return
    if _object_px(board) <= receptive_field(board.config.model):
        return
    planned = deeper(board.facts, board.config)
    if planned is None or not room.fits(planned):
        return
    board.config = planned
    board.choices = [choice for choice in board.choices if choice.name != "model.depth"]
    board.note(
        "model.depth", depth + 1,
        f"Objects of {_object_px(board):g} pixels need the context of one more pooling, and "
        "there is time for it.",
        f"Smaller objects, or less than {rules.DEEPER_FROM_MINUTES:g} minutes.",
    )  # fmt: skip


def _object_px(board: Board) -> float:
    """How far one has to see to see large objects, or a part of those that are long or a mesh.

    The class that fills most of the masks is what lies between objects.
    """
    ranked = sorted(board.facts.classes, key=lambda c: c.share)
    return max(
        (min(c.largest_px, rules.CONTEXT * c.thickness_px) for c in ranked[:-1]), default=0.0
    )
