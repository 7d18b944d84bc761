"""The training section of the configuration: patches, loss, schedule and random changes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, Field

from maskwright.errors import ConfigError
from maskwright.loss_terms import LossSettings, tidy_loss
from maskwright.network_config import Section as _Section

Precision = Literal["auto", "float32", "bfloat16"]
Layout = Literal["auto", "contiguous", "channels_last"]
Compiling = Literal["auto", "none", "code", "graphs"]
Optimiser = Literal["muon", "adamw", "sgd"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]


class AugmentConfig(_Section):
    """Random changes of each training patch; every strength may be zero.

    Args:
        flip: Probability of each mirroring, and of a turn by 90 degrees.
        rotate_deg: Largest rotation.
        scale: Largest relative change of size, 0.2 meaning from 1/1.2 to 1.2.
        elastic_px: Standard deviation of the displacements on a coarse grid (the paper: 10).
        elastic_grid: Grid points along each side (the paper: 3).
        gamma: Largest relative change of the exponent of the intensities.
        brightness: Largest shift, in standard deviations of the image.
        contrast: Largest relative change of contrast.
        blur_px: Largest standard deviation of a Gaussian blur.
        noise: Largest standard deviation of noise, in standard deviations of the image.
        share: Probability of each intensity change for each patch.
    """

    flip: Share = 0.5
    rotate_deg: Annotated[float, Field(ge=0.0, le=180.0)] = 45.0
    scale: NonNegative = 0.25
    elastic_px: NonNegative = 8.0
    elastic_grid: Annotated[int, Field(ge=2, le=16)] = 3
    gamma: NonNegative = 0.4
    brightness: NonNegative = 0.2
    contrast: NonNegative = 0.3
    blur_px: NonNegative = 1.0
    noise: NonNegative = 0.2
    share: Share = 0.4


class TrainConfig(_Section):
    """The training loop.

    Args:
        steps: Number of weight updates; ``None`` until it follows from ``minutes``.
        minutes: Time budget; the number of steps follows from the measured time of one.
        batch: Patches a step.
        accumulate: In how many equal parts the batch passes through the network, for less memory.
            Without batch normalisation, and with a loss that is a mean over pixels or patches
            (``dice_per_sample``), this changes the result by rounding only; sums over the batch,
            as in ``dice``, and the statistics of batch normalisation are those of each part.
        checkpointing: Whether features are computed a second time for the gradient instead of
            being kept: less memory, a third more time, the same gradient.
        patch_px: Size of a patch (of the network's input): one side for all axes, or one for each
            in the order of the array, written as ``40x56x40``.
        loss: The terms that are added, each with a weight if wanted, as ``dice+0.5*ce``. Terms:
            dice, ce, border_ce, focal, topk, tversky, focal_tversky, boundary, cldice.
        loss_settings: How those terms are computed.
        image_loss: Weight of the cross-entropy of the image's label in the sum.
        optimiser: ``muon`` makes the steps of all but the first and last layers orthogonal and
            leaves the others to AdamW; ``adamw``; ``sgd`` with Nesterov's momentum of 0.99.
        learning_rate: Peak of the schedule.
        warmup_share: Share of the steps in which the rate rises linearly to its peak.
        weight_decay: Share of the weights that a step of rate 1 would take away.
        clip_norm: Largest norm of the gradient.
        average: Decay of the running average of the weights that validation and prediction use.
        foreground_share: Share of the patches centred on a class drawn evenly.
        find_rate: Whether the peak of the rate is looked for before training, by a short ramp of
            rates; also written as ``learning_rate=auto``.
        validations: How many times whole validation images are predicted.
        patience: Training ends after so many validations in a row without a new best; 0 uses all
            steps.
        snapshots: Networks of so many last validations are kept, and prediction averages them; 0
            keeps the best one alone.
        ensemble: So many networks learn one after the other, each from fresh weights with its share
            of the steps; prediction averages them.
        pseudo_dice: Least Dice that a network expects of a mask it drew for an image without one,
            for that mask to be learnt from.
        precision: Number format of the convolutions; ``auto`` measures.
        layout: Memory order of the tensors; ``auto`` measures.
        compile: Whether PyTorch writes code for the network: ``none``, ``code``, or ``graphs``,
            which also records the launches of a GPU; ``auto`` measures on a GPU and is ``none``
            elsewhere.
        deterministic: Whether the same command gives the same bytes again: number format and
            memory order are not measured, and only operations that repeat themselves are used.
        cache_memory: How much memory decoded training images may take, as ``2GB``; the others lie
            in files of the run folder while training runs.
        seed: Seed of everything random.
        start_from: The run whose weights training began with; written by ``train --from``.
        augment: Random changes of the patches.
    """

    steps: Annotated[int, Field(ge=1)] | None = None
    minutes: Positive | None = None
    batch: Annotated[int, Field(ge=1)] = 4
    accumulate: Annotated[int, Field(ge=1)] = 1
    checkpointing: bool = False
    patch_px: int | tuple[int, ...] = 256
    loss: Annotated[str, AfterValidator(tidy_loss)] = "dice+ce"
    loss_settings: LossSettings = LossSettings()
    image_loss: NonNegative = 0.2
    optimiser: Optimiser = "muon"
    learning_rate: Positive = 2e-3
    warmup_share: Share = 0.05
    weight_decay: NonNegative = 1e-2
    clip_norm: Positive = 1.0
    average: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.995
    foreground_share: Share = 0.43
    find_rate: bool = False
    validations: Annotated[int, Field(ge=1)] = 10
    patience: Annotated[int, Field(ge=0)] = 0
    snapshots: Annotated[int, Field(ge=0, le=100)] = 0
    ensemble: Annotated[int, Field(ge=1, le=20)] = 1
    pseudo_dice: Share = 0.9
    precision: Precision = "auto"
    layout: Layout = "auto"
    compile: Compiling = "auto"
    deterministic: bool = False
    cache_memory: str = "4GB"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    start_from: str = ""
    augment: AugmentConfig = AugmentConfig()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _rate(cls, values: Any) -> Any:
        """Take ``learning_rate=auto``."""
        if isinstance(values, dict) and values.get("learning_rate") == "auto":
            values = {k: v for k, v in values.items() if k != "learning_rate"}
            values["find_rate"] = True
        return values

    @pydantic.field_validator("patch_px", mode="before")
    @classmethod
    def _sides(cls, value: Any) -> int | tuple[int, ...]:
        """Take ``256``, ``40x56x40`` and ``[40, 56, 40]``."""
        if isinstance(value, str):
            value = [int(side) if side.isdecimal() else side for side in value.split("x")]
        sides = list(value) if isinstance(value, list | tuple) else [value]
        if not (
            len(sides) in (1, 2, 3)
            and all(isinstance(n, int) and not isinstance(n, bool) and n >= 8 for n in sides)
        ):
            raise ValueError("a whole number of at least 8, or one for each axis as in 40x56x40")
        return tuple(sides) if len(sides) > 1 else sides[0]

    @pydantic.model_validator(mode="after")
    def _agrees(self) -> TrainConfig:
        """Refuse what several networks cannot share."""
        found = [f"{name}={getattr(self, name)}" for name in self.for_one_network]
        if self.ensemble > 1 and found:
            raise ConfigError(
                "config-ensemble",
                "train.ensemble",
                expected="networks from fresh weights that share all steps evenly",
                found=" and ".join([f"ensemble={self.ensemble}", *found]),
                remedy=f"leave one of them out, or set ensemble=1 to keep {found[0]}",
            )
        return self

    @property
    def for_one_network(self) -> tuple[str, ...]:
        """What is set that several networks cannot share.

        Example:
            >>> TrainConfig(patience=3).for_one_network
            ('patience',)
        """
        names = ("snapshots", "patience", "start_from")
        return tuple(name for name in names if getattr(self, name))

    @property
    def validations_each(self) -> int:
        """Validations of each network."""
        return -(-self.validations // self.ensemble)

    @property
    def validation_count(self) -> int:
        """Validations of the whole run: as many as asked for, or so many more that all get alike.

        Example:
            >>> TrainConfig(ensemble=3, validations=10).validation_count
            12
        """
        return self.ensemble * self.validations_each

    def patch_shape(self, dims: int) -> tuple[int, ...]:
        """The size of a patch along each axis.

        Args:
            dims: 2 for images, 3 for volumes.

        Raises:
            ConfigError: ``config-patch`` when ``patch_px`` has another number of axes.

        Example:
            >>> TrainConfig(patch_px=64).patch_shape(3)
            (64, 64, 64)
        """
        if isinstance(self.patch_px, int):
            return (self.patch_px,) * dims
        if len(self.patch_px) != dims:
            raise ConfigError(
                "config-patch",
                "--set patch_px",
                expected=f"one number, or {dims} joined by x",
                found="x".join(map(str, self.patch_px)),
                remedy=f"write one number for each of the {dims} axes of the images",
            )
        return self.patch_px
