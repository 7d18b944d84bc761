"""The loss as a person writes it, such as ``dice+0.5*ce``, and the settings of its terms."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

TERMS = (
    "dice",
    "ce",
    "border_ce",
    "focal",
    "topk",
    "tversky",
    "focal_tversky",
    "boundary",
    "cldice",
)

LossMap = Literal["border_map", "distance_map"]
# What a term needs beyond the truth, computed from the patch before the loss is taken.
_MAP_OF_TERM: Mapping[str, LossMap] = MappingProxyType(
    {"border_ce": "border_map", "boundary": "distance_map"}
)

# Exponents such as 1e+2 are left out, so that a plus always separates two terms.
_TERM = re.compile(r"(?:(\d+\.?\d*|\.\d+)\s*\*\s*)?([A-Za-z_]\w*)")

_LEAST_WEIGHT, _MOST_WEIGHT = 1e-6, 1e6

_NonNegative = Annotated[float, Field(ge=0.0)]
_Positive = Annotated[float, Field(gt=0.0)]


class LossSettings(BaseModel):
    """How the terms of the loss are computed; only those of named terms matter.

    Args:
        class_weights: A weight for each class in class order, background first; empty means that
            all count alike. A class of weight 0 is left out.
        balance_classes: Whether the class weights follow from how rare each class is.
        dice_per_sample: Whether ``dice``, ``tversky``, ``focal_tversky`` and ``cldice`` are taken
            of each patch and then averaged, instead of over the batch as a whole.
        dice_squared: Whether the denominator of ``dice`` adds squares.
        border_weight: Largest extra weight of ``border_ce`` between two objects (the paper: 10).
        border_sigma_px: How far ``border_ce`` reaches around a gap between objects (the paper: 5).
        focal_gamma: How strongly ``focal`` plays down pixels that are right; 0 is ``ce``.
        topk_share: Share of the pixels, the worst ones, that ``topk`` averages.
        tversky_alpha: Weight of false positives in ``tversky`` and ``focal_tversky``.
        tversky_beta: Weight of false negatives; larger than alpha favours finding everything.
        focal_tversky_gamma: ``focal_tversky`` is the Tversky loss to the power 1/gamma.
        cldice_iterations: Erosions of the soft skeleton of ``cldice``: about half the width, in
            pixels, of the widest tube.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    class_weights: tuple[_NonNegative, ...] = ()
    balance_classes: bool = False
    dice_per_sample: bool = False
    dice_squared: bool = False
    border_weight: _NonNegative = 10.0
    border_sigma_px: _Positive = 5.0
    focal_gamma: _NonNegative = 2.0
    topk_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    tversky_alpha: _Positive = 0.3
    tversky_beta: _Positive = 0.7
    focal_tversky_gamma: _Positive = 4 / 3
    cldice_iterations: Annotated[int, Field(ge=1, le=100)] = 5

    @field_validator("class_weights", mode="before")
    @classmethod
    def _weights(cls, value: Any) -> Any:
        """Take ``1,5`` as a person types it."""
        if not isinstance(value, str):
            return value
        try:
            return tuple(float(part) for part in value.split(",") if part.strip())
        except ValueError as error:
            raise ValueError("a number for each class, such as 1,5") from error

    @model_validator(mode="after")
    def _one_kind_of_weights(self) -> LossSettings:
        if self.class_weights and not any(self.class_weights):
            raise ValueError("a class weight above 0 for at least one class")
        if self.class_weights and self.balance_classes:
            raise ValueError("class_weights or balance_classes, not both")
        return self


def parse_loss(text: str) -> dict[str, float]:
    """The weight of each term of a loss such as ``dice+0.5*ce``; a term without one weighs 1.

    Args:
        text: Names of :data:`TERMS`, each at most once, joined by plus signs.

    Returns:
        Weights by name, in the order given.

    Raises:
        ValueError: For another form, an unknown name (with the nearest known one), a name given
            twice, or a weight out of range.

    Example:
        >>> parse_loss("dice + 0.5*ce")
        {'dice': 1.0, 'ce': 0.5}
    """
    weights: dict[str, float] = {}
    for part in text.split("+"):
        match = _TERM.fullmatch(part.strip())
        if match is None:
            raise ValueError("terms joined by plus signs, such as dice+ce or dice+0.5*focal")
        weight, name = float(match[1] or 1), match[2]
        if name not in TERMS:
            near = difflib.get_close_matches(name, TERMS, n=1, cutoff=0.5)
            known = f"{near[0]!r} (nearest to {name!r}), or any" if near else "sums"
            raise ValueError(f"{known} of {', '.join(TERMS)}")
        if name in weights:
            raise ValueError(f"each term once, but {name!r} is there twice")
        if not _LEAST_WEIGHT <= weight <= _MOST_WEIGHT:
            raise ValueError(f"a weight from 0.000001 to 1000000 for {name!r}")
        weights[name] = weight
    return weights


def tidy_loss(text: str) -> str:
    """The loss without spaces and idle weights, once it is known to be right.

    Raises:
        ValueError: As :func:`parse_loss` does.

    Example:
        >>> tidy_loss(" 1*dice + 0.50 * ce ")
        'dice+0.5*ce'
    """
    weights = parse_loss(text)
    return "+".join(name if w == 1 else f"{_plain(w)}*{name}" for name, w in weights.items())


def _plain(weight: float) -> str:
    """A number without an exponent, which could not be read back."""
    return format(Decimal(repr(weight)), "f").removesuffix(".0")


def needed_maps(loss: str) -> tuple[LossMap, ...]:
    """Which maps a loss needs beyond the truth.

    ``border_map`` says where two objects lie close together and needs the objects' numbers;
    ``distance_map`` is the signed distance to the outline of each class and needs the truth alone.

    Args:
        loss: As in :func:`parse_loss`.

    Example:
        >>> needed_maps("dice+ce"), needed_maps("dice+border_ce")
        ((), ('border_map',))
    """
    return tuple(_MAP_OF_TERM[name] for name in parse_loss(loss) if name in _MAP_OF_TERM)


def balanced_weights(pixels_per_class: Sequence[int]) -> tuple[float, ...]:
    """Class weights that make every class count the same, n / (K·n_k).

    A pixel weighs 1 on average. A class that never occurs weighs 1.

    Args:
        pixels_per_class: Pixels of each class in the training images.

    Source: the class balance w_c of Ronneberger et al. 2015, equation 2, which leaves the scale
    open.

    Example:
        >>> balanced_weights((900, 100))
        (0.55..., 5.0)
    """
    total = sum(pixels_per_class)
    count = len(pixels_per_class)
    return tuple(total / (count * n) if n else 1.0 for n in pixels_per_class)
