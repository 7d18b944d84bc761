"""What a network looks like, without building it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from maskwright import geometry
from maskwright.config import apply_settings
from maskwright.errors import ConfigError
from maskwright.nn.presets import FIGURES
from maskwright.nn.presets import preset as named


def describe(
    *,
    preset: str = "unet",
    input_px: int | Sequence[int] | str | None = None,
    settings: Sequence[str] = (),
) -> dict[str, Any]:
    """Layers, sizes, parameters, operations and receptive field of a network.

    Args:
        preset: Named starting point.
        input_px: Size of the input: one number for all axes, one for each in the order of the
            array, or either as text, such as ``116x132x132``. By default the preset's training
            patch, or what its paper shows.
        settings: ``key=value`` for any field of the configuration.

    Returns:
        ``layers`` and the totals; sizes are lists with one number an axis.

    Raises:
        SizeError: For an illegal input, naming the next legal ones.
        ConfigError: For an unknown preset or setting, or an input that is no number.

    Example:
        >>> describe(preset="ronneberger2015")["parameters"]
        31030658
        >>> describe(preset="cicek2016")["output_px"]
        [28, 44, 44]
    """
    config = apply_settings(named(preset), tuple(settings))
    model = config.model
    shape = _shape(input_px, model.dims)
    if shape is None:
        shown = FIGURES.get(preset, ())
        square = (config.train.patch_px,) * model.dims
        shape = shown if len(shown) == model.dims else square
    layers = geometry.layer_table(shape, model)
    axes = geometry.axes_of(model)
    return {
        "preset": preset,
        "model": model.model_dump(mode="json"),
        "input_px": list(shape),
        "output_px": list(layers[-1].shape),
        "layers": [{**asdict(layer), "shape": list(layer.shape)} for layer in layers],
        "parameters": sum(layer.parameters for layer in layers),
        "flops": 2 * sum(layer.macs for layer in layers),
        "receptive_field_px": [axis.receptive_field for axis in axes],
        "border_loss_px": [axis.border_loss for axis in axes],
        "halo_px": [axis.halo for axis in axes],
        "step_px": [axis.step for axis in axes],
        "exact_tiles": geometry.is_exact(model),
    }


def _shape(input_px: int | Sequence[int] | str | None, dims: int) -> tuple[int, ...] | None:
    if input_px is None:
        return None
    if isinstance(input_px, int):
        return (input_px,) * dims
    if not isinstance(input_px, str):
        return tuple(input_px)
    sizes = input_px.lower().replace("×", "x").split("x")
    if not all(size.strip().isdecimal() and int(size) for size in sizes):
        raise ConfigError(
            "input-form",
            "--input",
            expected="a number of pixels, or one for each axis joined by x",
            found=repr(input_px),
            remedy="write for example --input 572 or --input 116x132x132",
        )
    shape = tuple(int(size) for size in sizes)
    return shape * dims if len(shape) == 1 else shape


def table(description: dict[str, Any]) -> list[str]:
    """The lines that ``maskwright describe`` prints."""
    model = description["model"]
    rows = [("layer", "size", "channels", "parameters", "FLOPs")]
    rows.append(("input", _sizes(description["input_px"]), str(model["channels"]), "", ""))
    rows += [_row(layer) for layer in description["layers"]]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = [
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    context = (
        f"loses {_each(description['border_loss_px'])} px on each side"
        if model["padding"] == "valid"
        else f"halo for exact tiles {_each(description['halo_px'])} px on each side"
    )
    if not description["exact_tiles"]:
        context += "; means over the tile make the result depend on how tiles are cut"
    return [
        *lines,
        "",
        f"parameters       {description['parameters']:,}",
        f"FLOPs            {_flops(description['flops'])} for one input",
        f"receptive field  {_sizes(description['receptive_field_px'])} px at most",
        f"legal inputs     in steps of {_each(description['step_px'])} px; {context}",
    ]


def _sizes(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


def _each(sizes: Sequence[int]) -> str:
    """One number where all axes agree."""
    return str(sizes[0]) if len(set(sizes)) == 1 else _sizes(sizes)


def _row(layer: dict[str, Any]) -> tuple[str, str, str, str, str]:
    return (
        layer["name"],
        _sizes(layer["shape"]),
        str(layer["channels"]),
        f"{layer['parameters']:,}" if layer["parameters"] else "",
        _flops(2 * layer["macs"]) if layer["macs"] else "",
    )


def _flops(flops: int) -> str:
    return f"{flops / 1e9:.2f} G" if flops >= 1e7 else f"{flops / 1e6:.3f} M"
