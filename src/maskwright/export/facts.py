"""What an exported file knows besides its weights: how to prepare, tile and read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from maskwright import __version__, geometry
from maskwright.config import DataConfig, ModelConfig, PredictConfig, validate
from maskwright.data.labelmap import Color, LabelMap, pack_colors
from maskwright.data.object_target import BORDER_NAME
from maskwright.errors import RunError
from maskwright.export.preparation import described

KEY = "maskwright"
"""Under which name a file's metadata hold the facts."""

_FORMAT = 1


@dataclass(frozen=True)
class AxisFacts:
    """How one axis may be cut.

    Args:
        name: ``z``, ``y`` or ``x``.
        smallest: The smallest legal size of the input in pixels.
        divisor: The step between legal sizes.
        halo: Output pixels next to a cut that differ from those of the whole image.
        border_loss: By how many pixels the output is smaller on each side.
    """

    name: str
    smallest: int
    divisor: int
    halo: int
    border_loss: int

    def next_legal(self, size: int) -> int:
        """The smallest legal size of at least ``size`` pixels.

        Example:
            >>> AxisFacts("y", 188, 16, 0, 92).next_legal(512)
            524
        """
        steps = -(-(size - self.smallest) // self.divisor)
        return self.smallest + max(0, steps) * self.divisor


@dataclass(frozen=True)
class ModelFacts:
    """What every exported file carries, as JSON.

    Args:
        model: The network.
        data: What mask values mean.
        predict: Tiles and mirroring.
        temperature: Probabilities p become p^(1/T), normalised; from the validation images.
        written_by: Version of maskwright.

    Example:
        >>> facts = ModelFacts(ModelConfig(), DataConfig(labels=(("none", 0), ("cell", 255))))
        >>> ModelFacts.from_json(facts.to_json(), subject="cells.onnx") == facts
        True
    """

    model: ModelConfig
    data: DataConfig
    predict: PredictConfig = field(default_factory=PredictConfig)
    temperature: float = 1.0
    written_by: str = __version__

    @property
    def dims(self) -> int:
        """2 for images, 3 for volumes."""
        return self.model.dims

    @property
    def activation(self) -> Literal["softmax", "sigmoid"]:
        """What turns ``logits`` into probabilities."""
        return self.model.output

    @property
    def axes(self) -> tuple[AxisFacts, ...]:
        """The spatial axes in the order of the array."""
        # One pixel at the lowest level has no deviation for these normalisations to divide by.
        wider = self.model.norm in ("instance", "group")
        return tuple(
            AxisFacts(
                name,
                axis.next_legal(1) + wider * axis.step,
                axis.step,
                axis.halo,
                axis.border_loss,
            )
            for name, axis in zip(
                "zyx"[-self.model.dims :], geometry.axes_of(self.model), strict=True
            )
        )

    @property
    def exact(self) -> bool:
        """Whether tiles with the halo give what the whole image gives."""
        return geometry.is_exact(self.model)

    @property
    def labels(self) -> LabelMap:
        """The classes."""
        return LabelMap.from_config(self.data)

    def to_json(self, outputs: Sequence[str] = ("logits",)) -> str:
        """All facts as JSON; what follows from others is written out for other programs.

        Args:
            outputs: Names of the file's outputs.
        """
        labels = self.labels
        classes: list[dict[str, Any]] = [
            {"name": name, "mask_values": list(several), "color": _hex(color)}
            for name, several, color in zip(labels.names, labels.values, labels.colors, strict=True)
        ]
        if self.data.target == "border":
            classes.append({"name": BORDER_NAME, "mask_values": []})
        values = {
            "format": _FORMAT,
            "written_by": self.written_by,
            "input": {
                "name": "image",
                "axes": ["batch", "channel", *(axis.name for axis in self.axes)],
                **described(self.data),
            },
            "outputs": list(outputs),
            "activation": self.activation,
            "activation_over": "channel",
            "tiling": [
                {
                    "axis": axis.name,
                    "smallest_px": axis.smallest,
                    "divisor_px": axis.divisor,
                    "halo_px": axis.halo,
                    "border_loss_px": axis.border_loss,
                }
                for axis in self.axes
            ],
            "tiles_are_exact": self.exact,
            "mirror_px": self.predict.mirror_px,
            "classes": classes,
            "temperature": self.temperature,
            "model": self.model.model_dump(mode="json"),
            "data": self.data.model_dump(mode="json"),
            "predict": self.predict.model_dump(mode="json"),
        }
        return json.dumps(values)

    @staticmethod
    def from_json(text: str | None, *, subject: str) -> ModelFacts:
        """The facts of a file.

        Args:
            text: What the file holds under :data:`KEY`; ``None`` where it holds nothing.
            subject: The file, for the message.

        Raises:
            RunError: ``model-foreign`` for a file without facts, ``model-newer`` for one of a
                newer version, ``model-facts`` for damaged ones.
            ConfigError: For settings that are not known here.
        """
        if text is None:
            raise RunError(
                "model-foreign",
                subject,
                expected="a network exported by maskwright, which says how to use it",
                found="a file without this description",
                remedy="describe it in a bioimage.io package, and predict with that",
            )
        try:
            values: Any = json.loads(text)
            newer = int(values["format"]) > _FORMAT
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(subject) from error
        if newer:
            raise RunError(
                "model-newer",
                subject,
                expected=f"a file of format {_FORMAT}",
                found=f"format {values['format']}",
                remedy="update maskwright with `pip install -U maskwright`",
            )
        try:
            parts = values["model"], values["data"], values["predict"]
            temperature, written_by = float(values["temperature"]), str(values["written_by"])
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(subject) from error
        if not all(isinstance(part, dict) for part in parts) or not temperature > 0:
            raise _damaged(subject)
        return ModelFacts(
            validate(ModelConfig, parts[0], subject=subject),
            validate(DataConfig, parts[1], subject=subject),
            validate(PredictConfig, parts[2], subject=subject),
            temperature,
            written_by,
        )


def _hex(color: Color) -> str:
    return f"#{pack_colors(np.array(color, np.uint8)[:, None, None]).item():06x}"


def _damaged(subject: str) -> RunError:
    return RunError(
        "model-facts",
        subject,
        expected="the description that maskwright writes into its files",
        found="a damaged one",
        remedy="export the network again",
    )
