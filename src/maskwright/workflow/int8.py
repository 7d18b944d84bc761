"""A run's network in integers of 8 bits, with the Dice that it loses by them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maskwright.errors import RunError
from maskwright.io.durable import write_bytes, write_text
from maskwright.io.run_folder import RunFolder
from maskwright.plan.machine import describe_machine

MEAN_LOSS = 0.002
"""With a larger mean loss of Dice, int8 is used only where it is asked for."""

WORST_LOSS = 0.01
"""The same for the image that loses most."""


@dataclass(frozen=True)
class ImageLoss:
    """What one validation image loses.

    Args:
        name: The image.
        float32: Mean Dice of its classes after the first, predicted in float32.
        int8: The same, predicted in int8.
    """

    name: str
    float32: float
    int8: float

    @property
    def loss(self) -> float:
        """How much Dice is lost; negative where it is gained."""
        return self.float32 - self.int8


@dataclass(frozen=True)
class Int8:
    """A network in int8, and its measured loss.

    Args:
        content: The ONNX file.
        images: What each validation image loses.
        tiles: Tiles of training images that its ranges were measured on.
        runtime: What ran it.
        processor: Where; another one may compute other results.

    Example:
        >>> images = (ImageLoss("a", 0.9, 0.899), ImageLoss("b", 0.8, 0.802))
        >>> made = Int8(b"", images, 64, "OpenVINO 2026.4, int8", "some processor")
        >>> round(made.mean_loss, 4), round(made.worst.loss, 4), made.small_loss
        (-0.0005, 0.001, True)
    """

    content: bytes
    images: tuple[ImageLoss, ...]
    tiles: int
    runtime: str
    processor: str

    @property
    def mean_loss(self) -> float:
        """Mean over the images."""
        return sum(image.loss for image in self.images) / len(self.images)

    @property
    def worst(self) -> ImageLoss:
        """The image that loses most."""
        return max(self.images, key=lambda image: image.loss)

    @property
    def small_loss(self) -> bool:
        """Whether both losses are within their limits."""
        return self.mean_loss <= MEAN_LOSS and self.worst.loss <= WORST_LOSS

    @property
    def unasked(self) -> bool:
        """Whether it may be used where nobody asked for it: a small loss, measured here."""
        return self.small_loss and self.processor == describe_machine()["processor"]

    def sentences(self) -> list[str]:
        """What was measured, and what follows from it."""
        plural = "" if len(self.images) == 1 else "s"
        measured = (
            f"int8 changes the mean Dice by {-self.mean_loss:+.4f} on {len(self.images)} "
            f"validation image{plural}; worst {self.worst.name}, {-self.worst.loss:+.4f}."
        )
        limits = f"limits: mean loss {MEAN_LOSS:g}, worst {WORST_LOSS:g}"
        if self.small_loss:
            return [measured, f"predict --engine auto or openvino may use it ({limits})."]
        return [measured, f"predict uses it only with --set precision=int8 ({limits})."]

    def to_json(self) -> dict[str, Any]:
        """What was measured, as plain values."""
        return {
            "mean_loss": self.mean_loss,
            "worst_loss": self.worst.loss,
            "worst_image": self.worst.name,
            "limits": {"mean_loss": MEAN_LOSS, "worst_loss": WORST_LOSS},
            "small_loss": self.small_loss,
            "images": [asdict(image) for image in self.images],
            "tiles": self.tiles,
            "runtime": self.runtime,
            "processor": self.processor,
        }

    def write(self, folder: RunFolder) -> None:
        """Write ``int8.onnx`` and ``int8.json``, which belongs to it by its hash.

        Raises:
            OutputError: When they cannot be written.
        """
        values = {
            "model": _hash(folder.model.read_bytes()),
            "network": _hash(self.content),
            **self.to_json(),
        }
        write_bytes(folder.int8_network, self.content)
        write_text(folder.int8, json.dumps(values, indent=2) + "\n")

    @staticmethod
    def find(folder: RunFolder) -> Int8 | None:
        """What a run has in int8; ``None`` without it, and where its network has changed since.

        Raises:
            RunError: ``run-damaged`` for a file that is no JSON.
        """
        if not (folder.int8.is_file() and folder.int8_network.is_file()):
            return None
        values = folder.read_json(folder.int8)
        content = folder.int8_network.read_bytes()
        known = (values.get("model"), values.get("network"))
        if known != (_hash(folder.model.read_bytes()), _hash(content)):
            return None
        images = tuple(ImageLoss(**image) for image in values["images"])
        return Int8(content, images, values["tiles"], values["runtime"], values["processor"])

    @staticmethod
    def missing(run: Path) -> RunError:
        """The error of a run whose int8 was asked for and is not there."""
        return RunError(
            "int8-missing",
            str(run),
            expected="the network in int8, with its measured loss of Dice",
            found="none for its present weights",
            remedy=f"run `maskwright quantise {run}` first",
        )


def mean_of(values: Sequence[float]) -> float:
    """Mean Dice, a class that is neither there nor predicted counting as found.

    Example:
        >>> mean_of([0.5, float("nan")])
        0.75
    """
    return sum(1.0 if value != value else value for value in values) / len(values)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
