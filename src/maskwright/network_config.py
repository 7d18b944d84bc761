"""What a network is: one class of settings, frozen and validated where it is born."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from maskwright.errors import ConfigError

Width = Annotated[int, Field(ge=1, le=1 << 18)]


class Section(BaseModel):
    """Settings that belong together: frozen, nothing unknown, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelConfig(Section):
    """The network. The defaults are the padded U-Net with batch normalisation.

    Lists are written as ``16,32,64``, one entry a level; what differs between axes is joined by
    ``x`` in the order of the array (Y, X or Z, Y, X), as in ``1x3x3,3x3x3``.

    Args:
        dims: 2 for images, 3 for volumes.
        channels: Channels of the image.
        classes: Classes of the mask, background included.
        depth: Number of poolings; a network of depth 4 has five levels.
        width: Channels of the first level; each level below doubles them.
        widths: Channels of each level instead, depth + 1 numbers.
        max_width: Upper limit of the channels of a level.
        widen: Which convolution of an encoder block widens: the ``first``, or the ``second`` as in
            the 3D U-Net, where the up-convolution keeps its channels.
        convolutions: Convolutions in each block.
        kernels: Size of the convolutions at each level along each axis, 1 or 3; all 3 by default.
        strides: Step of each pooling along each axis, 1 or 2; all 2 by default.
        padding: ``same`` keeps the size, ``valid`` is the published, unpadded network.
        norm: Normalisation after each convolution of a block.
        groups: Groups of ``norm=group``.
        activation: What follows the normalisation.
        block: ``residual`` adds the input of each block to its output.
        attention: Whether gates weigh the skips of all levels but the first.
        squeeze_excitation: By how much squeeze-and-excitation reduces the channels (the paper: 16);
            0 leaves it out.
        down: ``max`` pooling, or a ``stride`` in the first convolution of the level below.
        up: ``transposed`` convolution, or ``resize``: repeated pixels, then a convolution.
        up_bias: Whether up-convolutions have a bias.
        dropout: Probability of dropping a value at the two lowest levels of the encoder.
        levels: Whether each level of the decoder predicts: ``supervised`` for the loss alone,
            ``fused`` into the final prediction too.
        image_classes: Classes of the whole image, predicted from the lowest level; 0 for none.
        image_hidden: Units of the fully connected layers before that prediction.
        output: ``softmax`` for classes that exclude each other, ``sigmoid`` for overlapping ones.
    """

    dims: Literal[2, 3] = 2
    channels: Annotated[int, Field(ge=1, le=64)] = 1
    classes: Annotated[int, Field(ge=1, le=255)] = 2
    depth: Annotated[int, Field(ge=1, le=8)] = 4
    width: Annotated[int, Field(ge=1, le=1024)] = 16
    widths: tuple[Width, ...] | None = None
    max_width: Width | None = None
    widen: Literal["first", "second"] = "first"
    convolutions: Annotated[int, Field(ge=1, le=4)] = 2
    kernels: tuple[tuple[Literal[1, 3], ...], ...] | None = None
    strides: tuple[tuple[Literal[1, 2], ...], ...] | None = None
    padding: Literal["same", "valid"] = "same"
    norm: Literal["none", "batch", "instance", "group"] = "batch"
    groups: Annotated[int, Field(ge=1)] = 8
    activation: Literal["relu", "leaky_relu", "gelu"] = "relu"
    block: Literal["plain", "residual"] = "plain"
    attention: bool = False
    squeeze_excitation: Annotated[int, Field(ge=0, le=64)] = 0
    down: Literal["max", "stride"] = "max"
    up: Literal["transposed", "resize"] = "transposed"
    up_bias: bool = True
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    levels: Literal["none", "supervised", "fused"] = "none"
    image_classes: Annotated[int, Field(ge=0, le=255)] = 0
    image_hidden: tuple[Width, ...] = (64,)
    output: Literal["softmax", "sigmoid"] = "softmax"

    @pydantic.field_validator("widths", "kernels", "strides", "image_hidden", mode="before")
    @classmethod
    def _lists(cls, value: Any, field: pydantic.ValidationInfo) -> Any:
        """Take ``16,32`` and ``1x3x3,3x3x3`` as a person types them."""
        if isinstance(value, int):
            value = str(value)
        if not isinstance(value, str):
            return value
        entries = [entry.strip() for entry in value.split(",") if entry.strip()]
        if field.field_name in ("kernels", "strides"):
            return [_numbers(entry.split("x")) for entry in entries]
        return _numbers(entries)

    @pydantic.model_validator(mode="after")
    def _agrees(self) -> ModelConfig:
        """Refuse settings that contradict each other."""
        for name, entries in (("widths", self.depth + 1), ("kernels", self.depth + 1),
                              ("strides", self.depth)):  # fmt: skip
            self._check_entries(name, getattr(self, name), entries)
        if self.widen == "second" and self.convolutions == 1:
            raise ConfigError(
                "config-widen",
                "model.widen",
                expected="at least two convolutions in a block whose second one widens",
                found="convolutions=1",
                remedy="set convolutions=2 or widen=first",
            )
        if self.attention and self.depth == 1:
            raise ConfigError(
                "config-attention",
                "model.attention",
                expected="a depth of at least 2, since the skip of the first level has no gate",
                found="depth=1",
                remedy="set depth=2 or attention=false",
            )
        if self.output == "softmax" and self.classes == 1:
            raise ConfigError(
                "config-one-class",
                "model.classes",
                expected="at least 2 classes that exclude each other",
                found="1",
                remedy="count the background as a class, or set output=sigmoid",
            )
        self._check_groups()
        return self

    def _check_entries(self, name: str, value: Any, entries: int) -> None:
        if value is None:
            return
        axes = {len(entry) for entry in value if isinstance(entry, tuple)}
        if len(value) == entries and axes <= {self.dims}:
            return
        each = "" if name == "widths" else f" of {self.dims} axes each, joined by x"
        raise ConfigError(
            f"config-{name}",
            f"model.{name}",
            expected=f"{entries} entries{each} for depth={self.depth} and dims={self.dims}",
            found=str(value),
            remedy=f"write one entry a {'pooling' if name == 'strides' else 'level'}, "
            f"change depth, or leave {name} out",
        )

    def _check_groups(self) -> None:
        if self.norm != "group":
            return
        widths = {*self.level_widths, self.first_width}
        if any(width % self.groups for width in widths):
            raise ConfigError(
                "config-groups",
                "model.groups",
                expected=f"a divisor of all channels ({', '.join(map(str, sorted(widths)))})",
                found=str(self.groups),
                remedy=f"set groups={math.gcd(self.groups, *widths)} or other widths",
            )

    @property
    def level_widths(self) -> tuple[int, ...]:
        """Channels of each level, from the finest to the lowest."""
        widths = self.widths or tuple(self.width << level for level in range(self.depth + 1))
        return widths if self.max_width is None else tuple(min(w, self.max_width) for w in widths)

    @property
    def first_width(self) -> int:
        """Channels after the network's first convolution."""
        first = self.level_widths[0]
        return max(1, first // 2) if self.widen == "second" else first

    @property
    def level_kernels(self) -> tuple[tuple[int, ...], ...]:
        """Size of the convolutions at each level along each axis."""
        return self.kernels or ((3,) * self.dims,) * (self.depth + 1)

    @property
    def level_strides(self) -> tuple[tuple[int, ...], ...]:
        """Step of each pooling along each axis."""
        return self.strides or ((2,) * self.dims,) * self.depth


def _numbers(texts: list[str]) -> list[int | str]:
    return [int(text) if text.strip().isdigit() else text for text in texts]


def setting_text(value: Any) -> str:
    """A setting's value as a person types it after ``--set name=``.

    Args:
        value: As JSON or a field holds it.

    Example:
        >>> setting_text([[1, 3, 3], [3, 3, 3]]), setting_text(True), setting_text("same")
        ('1x3x3,3x3x3', 'true', 'same')
    """
    if isinstance(value, list | tuple):
        entries = (
            "x".join(map(str, entry)) if isinstance(entry, list | tuple) else str(entry)
            for entry in value
        )
        return ",".join(entries)
    return value if isinstance(value, str) else json.dumps(value)
