"""What goes wrong in training, said in words with the likely cause and the remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

ONE_CLASS_SHARE = 0.999
_STILL = 0.01
_WORSE = 0.03
_BETTER = 0.01


@dataclass(frozen=True)
class Validation:
    """What one validation found.

    Args:
        step: Finished updates.
        loss: Mean training loss since the validation before.
        train_dice: Mean soft Dice of the training patches since then.
        dice: Mean Dice over the classes of the whole validation images.
        class_dice: Dice of each class.
        predicted_share: Share of the pixels predicted as each class.
        truth_share: Share of the pixels that are each class.
        image_accuracy: Share of the validation images whose label is right, where there are labels.
    """

    step: int
    loss: float
    train_dice: float
    dice: float
    class_dice: tuple[float, ...]
    predicted_share: tuple[float, ...]
    truth_share: tuple[float, ...]
    image_accuracy: float | None = None

    @staticmethod
    def from_facts(facts: Mapping[str, Any]) -> Validation:
        """From the JSON values of ``dataclasses.asdict``."""
        return Validation(
            int(facts["step"]),
            float(facts["loss"]),
            float(facts["train_dice"]),
            float(facts["dice"]),
            tuple(facts["class_dice"]),
            tuple(facts["predicted_share"]),
            tuple(facts["truth_share"]),
            facts.get("image_accuracy"),
        )


@dataclass(frozen=True)
class Diagnosis:
    """One finding: a stable code and the sentences a person reads."""

    code: str
    text: str


def diagnose(
    history: Sequence[Validation], *, total_steps: int, warmup_share: float, names: Sequence[str]
) -> list[Diagnosis]:
    """Findings after the newest validation.

    Args:
        history: All validations so far, oldest first.
        total_steps: Updates of the whole run.
        warmup_share: Share of them that is warm-up, in which nothing is concluded.
        names: Class names.

    Returns:
        Findings, possibly none; the caller says each code once.
    """
    if not history or history[-1].step <= warmup_share * total_steps:
        return []
    checks = (_one_class(history[-1], names), _loss_still(history), _memorising(history))
    return [finding for finding in checks if finding is not None]


def _one_class(newest: Validation, names: Sequence[str]) -> Diagnosis | None:
    share = max(newest.predicted_share)
    truth = max(newest.truth_share)
    if share < ONE_CLASS_SHARE or truth >= ONE_CLASS_SHARE:
        return None
    only = names[newest.predicted_share.index(share)]
    missing = min((t, n) for t, n in zip(newest.truth_share, names, strict=True) if n != only)
    return Diagnosis(
        "training-one-class",
        f"After step {newest.step} the network predicts {only!r} for {share:.1%} of the "
        f"validation pixels: masks written now would be of one colour. Likely causes: masks read "
        f"with a wrong meaning (run `maskwright check` and read its list of values), a class too "
        f"rare to be seen ({missing[1]!r} is {missing[0]:.2%} of the pixels; raise it with "
        "--set foreground_share=0.8), a learning rate too high (--set learning_rate=5e-4), or too "
        "few steps (raise --minutes).",
    )


def _loss_still(history: Sequence[Validation]) -> Diagnosis | None:
    if len(history) < 3:
        return None
    first, last = history[0].loss, min(h.loss for h in history[1:])
    if first <= 0.05 or last < first * (1 - _STILL):
        return None
    return Diagnosis(
        "training-loss-still",
        f"The loss has not moved since the first validation ({first:.3f}, now {last:.3f}). Likely "
        "causes: a learning rate too low or too high (try --set learning_rate=1e-3 or 5e-4), masks "
        "that do not belong to their images (`maskwright check` lists the pairs), or images "
        "without contrast.",
    )


def _memorising(history: Sequence[Validation]) -> Diagnosis | None:
    if len(history) < 4:
        return None
    best = max(history, key=lambda h: h.dice)
    newest = history[-1]
    falls = sum(b.dice < a.dice for a, b in pairwise(history[history.index(best) :]))
    grown = newest.train_dice > best.train_dice + _BETTER
    if newest.dice > best.dice - _WORSE or not grown or falls < 2:
        return None
    return Diagnosis(
        "training-memorising",
        f"Training still improves (Dice {best.train_dice:.3f} to {newest.train_dice:.3f}) while "
        f"validation falls (from {best.dice:.3f} at step {best.step} to {newest.dice:.3f}). The "
        "network is learning the training images by heart, or the validation images differ from "
        "them. The weights of the best validation are kept. Remedies: more annotated images, "
        "stronger augmentation (--set elastic_px=10 --set scale=0.4), a smaller network "
        "(--set width=8), fewer steps.",
    )
