"""Choices of a plan for training and prediction, made when the network is known."""

from __future__ import annotations

import math

from maskwright.plan import rules
from maskwright.plan.board import Board
from maskwright.plan.memory import prediction_bytes


def choose_training(board: Board) -> None:
    """Loss, sampling, schedule and random changes."""
    facts, train, machine = board.facts, board.config.train, board.machine
    board.choose(
        "train.loss", train.loss,
        "Dice counts small classes as much as large ones, cross-entropy makes every pixel "
        "count.",
        "Only --set loss.",
    )  # fmt: skip
    drawn = 1 - max((c.share for c in facts.classes), default=0.0)
    rare = bool(facts.classes) and drawn < rules.RARE_SHARE
    board.choose(
        "train.foreground_share",
        rules.RARE_FOREGROUND_SHARE if rare else train.foreground_share,
        f"All but the largest class are {drawn:.2%} of the pixels.",
        f"{'At least' if rare else 'Less than'} {rules.RARE_SHARE:.0%}.",
    )
    if machine.precision != "auto":
        for name in ("layout", "precision"):
            board.choose(
                f"train.{name}", getattr(machine, name),
                f"It was measured here, {machine.gain:.2g} times as fast as plain float32.",
                "Another machine.",
            )  # fmt: skip
    _choose_validations(board)
    _choose_steps(board)
    _choose_ensemble(board)
    if board.minutes is not None:
        board.choose(
            "train.patience", train.patience,
            "Early stop is off, so that the whole time is used.",
            "Only --set patience=3, which ends it after three validations without a new best.",
        )  # fmt: skip
    board.choose(
        "train.optimiser", train.optimiser,
        "Its orthogonal steps reached as much in half of the updates on every set that was tried.",
        "Only --set optimiser.",
    )  # fmt: skip
    if train.find_rate:
        board.note(
            "train.learning_rate", "auto", "A ramp of rates finds it before training.",
            "Leaving out --set learning_rate=auto.",
        )  # fmt: skip
    else:
        board.choose(
            "train.learning_rate", train.learning_rate,
            "It suited every set that was tried with this optimiser.",
            "Only --set learning_rate.",
        )  # fmt: skip
    board.choose(
        "train.average", train.average, "It averages the weights of the last 200 updates.",
        "Only --set average.",
    )  # fmt: skip
    _choose_changes(board)


def _choose_validations(board: Board) -> None:
    each_s, usual = board.machine.predict_s_per_megapixel, board.config.train.validations
    count, reason = usual, "That is the usual number."
    if each_s and board.minutes is not None:
        validation_s = max(each_s * board.facts.pixels[1] / 1e6, 1e-6)
        most = int(rules.VALIDATING_SHARE * 60 * board.minutes / validation_s)
        count = min(usual, max(rules.FEWEST_VALIDATIONS, most))
        reason = f"One takes about {validation_s:.2g} s."
    board.choose(
        "train.validations", count, reason,
        f"Validations that take more than {rules.VALIDATING_SHARE:.0%} of the time.",
    )  # fmt: skip


def _choose_steps(board: Board) -> None:
    train = board.config.train
    measured = board.machine.step_of(board.config.model.width)
    if board.steps is None and board.minutes is not None and measured is not None:
        each_s = (board.machine.predict_s_per_megapixel or 0) * board.facts.pixels[1] / 1e6
        left_s = rules.TRAINING_SHARE * 60 * board.minutes - train.validation_count * each_s
        board.steps = max(1, int(left_s / max(measured.step_s, 1e-9)))
        board.note(
            "train.steps", board.steps,
            f"About so many of {measured.step_s:.2g} s fit {board.minutes:g} minutes; the "
            "number is corrected while they are made.",
            "Another time with --minutes.",
        )  # fmt: skip
    elif board.steps is not None:
        board.note(
            "train.steps", board.steps, "That was asked for.", "Another number, or --minutes."
        )


def _choose_ensemble(board: Board) -> None:
    """Several networks where one would go on with nothing new to learn."""
    train, each = board.config.train, rules.NETWORK_UPDATES
    single = train.for_one_network
    if single and "train.ensemble" not in board.given:
        board.note("train.ensemble", 1, f"{single[0]} is for one network.", "Leaving that out.")
    elif board.minutes is not None and board.steps is not None:
        count = max(1, min(rules.MOST_NETWORKS, board.steps // each))
        board.choose(
            "train.ensemble", count,
            f"A network learns little more after {each:,} updates; other networks, each from "
            "fresh weights, and the mean of all gain more.",
            f"Time for {(count + 1) * each:,} updates."
            if count < rules.MOST_NETWORKS
            else f"Time for fewer than {count * each:,} updates.",
        )  # fmt: skip
    else:
        board.choose(
            "train.ensemble", train.ensemble,
            "The number of updates was asked for."
            if board.minutes is None
            else "No updates were measured.",
            f"A time for {2 * each:,} updates, with --minutes.",
        )  # fmt: skip


def _choose_changes(board: Board) -> None:
    facts, train = board.facts, board.config.train
    usual = train.augment.model_dump()
    views = 0.0
    if board.steps is not None:
        shape = train.patch_shape(facts.dims)
        seen = board.steps / train.ensemble * train.batch * math.prod(shape)
        views = seen / max(1, facts.pixels[0])
    stronger = views >= rules.STRONGER_FROM_VIEWS
    reason = f"Each pixel is seen about {views:.0f} times." if views else "It is the usual one."
    change = f"{'Fewer' if stronger else 'More'} than {rules.STRONGER_FROM_VIEWS:g} times."
    chosen = {name: value if stronger else usual[name] for name, value in rules.STRONGER.items()}
    for name, value in chosen.items():
        path = f"train.augment.{name}"
        if path in board.given:
            board.choose(path, value, reason, change)
        else:
            board.put(path, value)
    kept = {
        name: value for name, value in chosen.items() if f"train.augment.{name}" not in board.given
    }
    board.note("train.augment", kept, reason, change)
    if facts.dims == 3:
        alike = "" if facts.layout is None else f" Here masks agree by {facts.layout:.0%}."
        for name in ("flip", "rotate_deg"):
            board.choose(
                f"train.augment.{name}", usual[name],
                f"Organs lie the same way in every volume.{alike}", f"Only --set {name}.",
            )  # fmt: skip


def choose_prediction(board: Board) -> None:
    """Tiles, engine and averaging, for the validation, the test and later images."""
    predict, limit = board.config.predict, board.machine.memory_bytes
    tile_px = predict.tile_px
    while (
        limit is not None
        and tile_px > rules.SMALLEST_TILE_PX
        and prediction_bytes(board.config.model, tile_px) > rules.MEMORY_SHARE * limit
    ):
        tile_px = max(rules.SMALLEST_TILE_PX, tile_px // 2)
    needed = prediction_bytes(board.config.model, tile_px) / 2**30
    board.choose(
        "predict.tile_px", tile_px, f"A tile then takes about {needed:.2g} GiB.",
        "Less memory.",
    )  # fmt: skip
    board.choose(
        "predict.engine", predict.engine,
        "Engines are compared when enough is predicted to pay for it.", "Only --set engine.",
    )  # fmt: skip
    board.choose(
        "predict.tta", predict.tta,
        "Averaging over mirrorings gained nothing beyond noise in the comparisons, and takes "
        "several times as long.",
        "Only --set tta=flip.",
    )  # fmt: skip
    board.note(
        "folds", 1, "One part of the images is the test.",
        "--folds 5 tests every image, with a fifth of the time for each network.",
    )  # fmt: skip
