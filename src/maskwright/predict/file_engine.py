"""Networks in files as the callable that prediction uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import RunError
from maskwright.io.network_file import NetworkFile
from maskwright.io.package import Package
from maskwright.predict.predictor import Engine, Found
from maskwright.predict.processing import activation, sigmoid, softmax

_TOLERANCE = 1e-3


def file_engine(network: NetworkFile, activated: str) -> Engine:
    """A callable from tiles to probabilities, for a file that maskwright exported.

    Args:
        network: The file, opened.
        activated: ``softmax`` or ``sigmoid`` of its ``logits``.

    Returns:
        A callable from ``(B, C, *S)`` float32 to :class:`~maskwright.predict.predictor.Found`, with
        the probabilities of whole images where the file gives them.

    Example:
        >>> even = NetworkFile(lambda batch: {"logits": batch.repeat(2, 1)}, None, "example")
        >>> found = file_engine(even, "softmax")(np.zeros((1, 1, 1, 1), np.float32))
        >>> found["probabilities"].ravel().tolist()
        [0.5, 0.5]
    """

    def run(batch_BCS: NDArray[np.float32]) -> Found:
        outputs = network.run(np.ascontiguousarray(batch_BCS))
        logits_BKS = outputs["logits"]
        probabilities_BKS = (
            sigmoid(logits_BKS) if activated == "sigmoid" else softmax(logits_BKS, axis=1)
        )
        found: Found = {"probabilities": probabilities_BKS.astype(np.float32)}
        if "image_logits" in outputs:
            image_BL = softmax(outputs["image_logits"], axis=1)
            found["image_probabilities"] = image_BL.astype(np.float32)
        return found

    return run


def package_engine(package: Package, *, subject: str) -> tuple[Engine, tuple[str, ...]]:
    """A callable from tiles to probabilities that sum to one, for a package of others.

    One channel is the probability of a foreground. Several channels are classes where they sum to
    one (a softmax), and otherwise may overlap: a pixel is then of the most probable of them if
    that is more probable than not, and else of the background.

    Args:
        package: The package.
        subject: What it is called in a message.

    Returns:
        The callable, and the names of the classes.

    Raises:
        RunError: ``package-operation`` for postprocessing that is not known.
    """
    names = [axis.name for axis in package.axes]
    after = activation(package.after, names, subject=subject)

    def probabilities(batch_BCS: NDArray[np.float32]) -> NDArray[np.float64]:
        ordered = _to_order(batch_BCS, package.input_order)
        outputs = list(package.network.run(ordered).values())
        found_BKS = _from_order(outputs[package.output_index], package.output_order)
        values_BKS = np.stack([after(values_KS) for values_KS in found_BKS])
        if values_BKS.min() < -_TOLERANCE or values_BKS.max() > 1 + _TOLERANCE:
            raise RunError(
                "package-output",
                subject,
                expected="probabilities from 0 to 1",
                found=f"values from {values_BKS.min():.3g} to {values_BKS.max():.3g}",
                remedy="use the program the package was made for",
            )
        return values_BKS

    blank = np.zeros((1, package.channels, *(axis.smallest for axis in package.axes)), np.float32)
    tried_BKS = probabilities(blank)
    channels = tried_BKS.shape[1]
    if channels > 1 and np.allclose(tried_BKS.sum(1), 1, atol=_TOLERANCE):
        return _float32(probabilities), _class_names(package.class_names, channels, None)
    classes = _class_names(package.class_names, channels, "background")

    def with_background(batch_BCS: NDArray[np.float32]) -> NDArray[np.float64]:
        values_BKS = np.clip(probabilities(batch_BCS), 0, 1)
        rest_B1S = 1 - values_BKS.max(1, keepdims=True)
        all_BKS = np.concatenate([rest_B1S, values_BKS], axis=1)
        summed: NDArray[np.float64] = all_BKS / all_BKS.sum(1, keepdims=True)
        return summed

    return _float32(with_background), classes


def _float32(engine: Callable[[NDArray[np.float32]], NDArray[np.float64]]) -> Engine:
    return lambda batch: {"probabilities": engine(batch).astype(np.float32)}


def _class_names(names: Sequence[str], channels: int, first: str | None) -> tuple[str, ...]:
    known = list(names) if len(set(names)) == channels else []
    if channels == 1 and first is not None:
        known = ["foreground"]
    filled = known or [f"class {index + 1}" for index in range(channels)]
    return (first, *filled) if first is not None else tuple(filled)


def _to_order(batch: NDArray[Any], order: Sequence[int]) -> NDArray[Any]:
    """From B, C, Z, Y, X to the network's own order, without the batch where it has none."""
    if len(order) < batch.ndim:
        batch = batch[0]
        order = [index - 1 for index in order]
    return np.ascontiguousarray(batch.transpose(order))


def _from_order(found: NDArray[Any], order: Sequence[int]) -> NDArray[Any]:
    """Back to B, K, Z, Y, X."""
    arranged = found.transpose(np.argsort(order))
    return arranged if 0 in order else arranged[None]
