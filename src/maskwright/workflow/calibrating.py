"""What the validation images say of the probabilities: how sure to be, and where to cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.evaluate.temperature import apply_temperature, fit_temperature
from maskwright.evaluate.thresholds import ThresholdCurve, ThresholdSweep
from maskwright.io.durable import write_text
from maskwright.io.run_folder import RunFolder

# Probabilities of the validation images up to this size are kept instead of predicted twice.
_KEPT_BYTES = 1 << 29

Predicted = tuple[NDArray[np.float32], NDArray[Any], NDArray[np.bool_] | None]


@dataclass(frozen=True)
class Calibration:
    """Chosen on validation images, applied to all others.

    Args:
        temperature: Probabilities p become p^(1/T), normalised.
        facts: The fit: cross-entropy and calibration error before and after.
        curves: Mean validation Dice at each threshold, for the classes after the first.
    """

    temperature: float = 1.0
    facts: dict[str, float] | None = None
    curves: tuple[ThresholdCurve, ...] = ()

    def apply(self, probabilities_KYX: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrated probabilities; the most probable class stays the same."""
        if self.temperature == 1.0:
            return probabilities_KYX
        return apply_temperature(probabilities_KYX, self.temperature)

    def write(self, folder: RunFolder) -> None:
        """Write ``calibration.json``."""
        values = {
            "temperature": self.temperature,
            "facts": self.facts,
            "curves": [asdict(curve) for curve in self.curves],
        }
        write_text(folder.calibration, json.dumps(values, indent=2) + "\n")

    @staticmethod
    def read(folder: RunFolder) -> Calibration:
        """What a run knows of its probabilities; nothing is changed where it knows nothing.

        Raises:
            RunError: When the file is damaged.
        """
        if not folder.calibration.is_file():
            return Calibration()
        values = folder.read_json(folder.calibration)
        curves = (
            ThresholdCurve(tuple(c["thresholds"]), tuple(c["dice"]), c["n_used"], c["n"])
            for c in values["curves"]
        )
        return Calibration(values["temperature"], values["facts"], tuple(curves))


def calibrate(
    names: Sequence[str], predict: Callable[[str], Predicted], classes: int, pixels: int
) -> Calibration:
    """Fit a temperature on validation images, then find the best threshold of each class.

    Args:
        names: The validation images.
        predict: Probabilities, true class ids and region of interest of one of them.
        classes: Number of classes.
        pixels: Pixels of all of them together.
    """

    def predicted() -> Iterator[Predicted]:
        return (predict(name) for name in names)

    images: Iterable[Predicted] | None = None
    if pixels * classes * 4 <= _KEPT_BYTES:
        images = list(predicted())
    fitted = fit_temperature(images or predicted())
    calibration = Calibration(fitted.value, asdict(fitted))
    sweeps = [ThresholdSweep() for _ in range(1, classes)]
    for probabilities_KYX, truth, valid in images or predicted():
        calibrated_KYX = calibration.apply(probabilities_KYX)
        for k, sweep in enumerate(sweeps, start=1):
            sweep.add(calibrated_KYX[k], truth == k, valid)
    return Calibration(fitted.value, asdict(fitted), tuple(sweep.result() for sweep in sweeps))
