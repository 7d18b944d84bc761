"""Steps before and after a network of others, as bioimage.io's format 0.5 defines them.

Values that follow from the image (mean, deviation, percentiles) are measured once over the whole
image, whatever tiles are cut from it.

Source: https://bioimage.io/docs, model format 0.5, pre- and postprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.intensity import select_channels
from maskwright.errors import RunError
from maskwright.predict.predictor import Normaliser

Operation = tuple[str, Mapping[str, Any]]
Array = NDArray[np.float64]
Change = Callable[[Array], Array]
"""From an array with its channels first to one of the same shape."""

_BLOCK_PX = 1 << 20
_MEASURING = {"zero_mean_unit_variance", "scale_range"}


def normaliser(operations: Sequence[Operation], axes: Sequence[str], *, subject: str) -> Normaliser:
    """Preprocessing as a :data:`~maskwright.predict.predictor.Normaliser`.

    Args:
        operations: Names and settings.
        axes: Names of the spatial axes.
        subject: The package, for messages.

    Returns:
        A callable that measures an image and gives back what normalises its blocks.

    Raises:
        RunError: ``package-operation`` for a step that is not known, or known only as code.

    Example:
        >>> steps = [("scale_linear", {"gain": 2.0, "offset": 1.0})]
        >>> measure = normaliser(steps, "yx", subject="example")
        >>> measure(np.array([[[1, 3]]], np.uint8), 1)(np.array([[[3]]], np.uint8)).tolist()
        [[[7.0]]]
    """
    plain = {
        index: _change(name, settings, axes, subject)
        for index, (name, settings) in enumerate(operations)
        if name not in _MEASURING
    }
    for name, settings in operations:
        if name in _MEASURING:
            _over_channels(settings, axes, subject)

    def measure(image_CS: NDArray[Any], channels: int) -> Callable[..., NDArray[np.float32]]:
        selected_CS = select_channels(image_CS, channels)
        changes: list[Change] = []
        for index, (name, settings) in enumerate(operations):
            if index in plain:
                changes.append(plain[index])
            else:
                jointly = _over_channels(settings, axes, subject)
                found = _MEASURES[name](selected_CS, tuple(changes), settings, jointly)
                changes.append(found)

        def apply(block_CS: NDArray[Any]) -> NDArray[np.float32]:
            return _apply(changes, select_channels(block_CS, channels)).astype(np.float32)

        return apply

    return measure


def activation(operations: Sequence[Operation], axes: Sequence[str], *, subject: str) -> Change:
    """Postprocessing of one tile.

    Args:
        operations: Names and settings; none that measures the image.
        axes: Names of the spatial axes.
        subject: The package, for messages.

    Raises:
        RunError: ``package-operation`` for a step that is not known, or known only as code.

    Example:
        >>> activation([("sigmoid", {})], "yx", subject="example")(np.zeros((1, 1, 1))).tolist()
        [[[0.5]]]
    """
    changes = [_change(name, settings, axes, subject) for name, settings in operations]
    return lambda values_CS: _apply(changes, values_CS)


def sigmoid(values: NDArray[Any]) -> NDArray[Any]:
    """1/(1+exp(−x)), from 0 to 1, without overflow.

    Example:
        >>> sigmoid(np.array([-1e4, 0.0])).tolist()
        [0.0, 0.5]
    """
    result: NDArray[Any] = 0.5 * (1 + np.tanh(0.5 * values))
    return result


def softmax(values: NDArray[Any], axis: int = 0) -> NDArray[Any]:
    """exp(x)/Σexp(x) along an axis, without overflow.

    Example:
        >>> softmax(np.array([1e4, 1e4])).tolist()
        [0.5, 0.5]
    """
    shifted = np.exp(values - values.max(axis, keepdims=True))
    result: NDArray[Any] = shifted / shifted.sum(axis, keepdims=True)
    return result


def _apply(changes: Sequence[Change], block: NDArray[Any]) -> Array:
    values = block.astype(np.float64)
    for change in changes:
        values = change(values)
    return values


def _change(name: str, settings: Mapping[str, Any], axes: Sequence[str], subject: str) -> Change:
    """A step that needs no look at the image."""
    try:
        if name == "ensure_dtype":
            return lambda values: values.astype(settings["dtype"]).astype(np.float64)
        if name == "sigmoid":
            return sigmoid
        if name == "softmax" and settings.get("axis", "channel") == "channel":
            return softmax
        if name == "clip":
            return lambda values: np.clip(values, settings.get("min"), settings.get("max"))
        if name == "binarize":
            threshold = _column(settings["threshold"], len(axes))
            return lambda values: (values > threshold).astype(np.float64)
        if name == "scale_linear":
            gain = _column(settings.get("gain", 1.0), len(axes))
            offset = _column(settings.get("offset", 0.0), len(axes))
            return lambda values: gain * values + offset
        if name == "fixed_zero_mean_unit_variance":
            mean, std = (_column(settings[key], len(axes)) for key in ("mean", "std"))
            return lambda values: (values - mean) / std
    except (KeyError, TypeError, ValueError) as error:
        raise _unknown(subject, f"{name} with {dict(settings)}") from error
    raise _unknown(subject, name)


def _column(value: Any, dims: int) -> Array:
    """One number, or one a channel."""
    return np.array(value, np.float64).reshape(-1, *[1] * dims)


def _over_channels(settings: Mapping[str, Any], axes: Sequence[str], subject: str) -> bool:
    """Whether a step measures all channels together; it has to measure the whole plane."""
    named = settings.get("axes")
    if named is None:
        return True
    if not set(axes) <= set(named) or settings.get("reference_tensor"):
        raise _unknown(subject, f"a measure along {', '.join(map(str, named))} alone")
    return "channel" in named


def _blocks(image_CS: NDArray[Any], changes: Sequence[Change]) -> Iterator[Array]:
    rows = max(1, _BLOCK_PX // max(1, image_CS[0, 0].size * len(image_CS)))
    for start in range(0, image_CS.shape[1], rows):
        yield _apply(changes, image_CS[:, start : start + rows])


def _reduced(image_CS: NDArray[Any], jointly: bool) -> tuple[tuple[int, ...], int]:
    first = 0 if jointly else 1
    return tuple(range(first, image_CS.ndim)), int(np.prod(image_CS.shape[first:]))


def _mean_and_deviation(
    image_CS: NDArray[Any], changes: Sequence[Change], settings: Mapping[str, Any], jointly: bool
) -> Change:
    axes, count = _reduced(image_CS, jointly)
    total = sum(block.sum(axes, keepdims=True) for block in _blocks(image_CS, changes))
    mean = np.asarray(total) / count
    squares = sum(
        np.square(block - mean).sum(axes, keepdims=True) for block in _blocks(image_CS, changes)
    )
    spread = np.sqrt(np.asarray(squares) / count) + float(settings.get("eps", 1e-6))
    return lambda values: (values - mean) / spread


def _percentiles(
    image_CS: NDArray[Any], changes: Sequence[Change], settings: Mapping[str, Any], jointly: bool
) -> Change:
    axes, _ = _reduced(image_CS, jointly)
    whole = np.concatenate([block.astype(np.float32) for block in _blocks(image_CS, changes)], 1)
    bounds = (settings.get("min_percentile", 0.0), settings.get("max_percentile", 100.0))
    low, high = np.percentile(whole, bounds, axis=axes, keepdims=True).astype(np.float64)
    spread = high - low + float(settings.get("eps", 1e-6))
    return lambda values: (values - low) / spread


_MEASURES = {"zero_mean_unit_variance": _mean_and_deviation, "scale_range": _percentiles}


def _unknown(subject: str, step: str) -> RunError:
    return RunError(
        "package-operation",
        subject,
        expected="steps of bioimage.io's format 0.5 that need no code of the package",
        found=step,
        remedy="use the program the package was made for",
    )
