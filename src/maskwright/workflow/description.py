"""What a network looks like, without building it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from maskwright import geometry
from maskwright.config import apply_settings
from maskwright.nn.presets import preset as named


def describe(
    *, preset: str = "unet", input_px: int | None = None, settings: Sequence[str] = ()
) -> dict[str, Any]:
    """Layers, sizes, parameters, operations and receptive field of a network.

    Args:
        preset: Named starting point.
        input_px: Side of a square input; by default the preset's training patch.
        settings: ``key=value`` for any field of the configuration.

    Returns:
        ``layers`` and the totals.

    Raises:
        SizeError: For an illegal input, naming the next legal ones.
        ConfigError: For an unknown preset or setting.

    Example:
        >>> describe(preset="ronneberger2015")["parameters"]
        31030658
    """
    config = apply_settings(named(preset), tuple(settings))
    model = config.model
    size = input_px or max(config.train.patch_shape(2))
    layers = geometry.layer_table(size, **model.model_dump(exclude={"dropout"}))
    step = geometry.divisor(model.depth)
    return {
        "preset": preset,
        "model": model.model_dump(mode="json"),
        "input_px": size,
        "output_px": layers[-1].size,
        "layers": [asdict(layer) for layer in layers],
        "parameters": sum(layer.parameters for layer in layers),
        "flops": 2 * sum(layer.macs for layer in layers),
        "receptive_field_px": geometry.receptive_field(model.depth),
        "border_loss_px": geometry.border_loss(model.depth, model.padding),
        "halo_px": geometry.halo(model.depth) if model.padding == "same" else 0,
        "step_px": step,
    }


def table(description: dict[str, Any]) -> list[str]:
    """The lines that ``maskwright describe`` prints."""
    model = description["model"]
    size = description["input_px"]
    rows = [("layer", "size", "channels", "parameters", "FLOPs")]
    rows.append(("input", f"{size}×{size}", str(model["channels"]), "", ""))
    rows += [_row(layer) for layer in description["layers"]]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    lines = [
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    context = (
        f"loses {description['border_loss_px']} px on each side"
        if model["padding"] == "valid"
        else f"halo for exact tiles {description['halo_px']} px on each side"
    )
    return [
        *lines,
        "",
        f"parameters       {description['parameters']:,}",
        f"FLOPs            {_flops(description['flops'])} for one input",
        f"receptive field  {description['receptive_field_px']}×"
        f"{description['receptive_field_px']} px at most",
        f"legal inputs     in steps of {description['step_px']} px; {context}",
    ]


def _row(layer: dict[str, Any]) -> tuple[str, str, str, str, str]:
    return (
        layer["name"],
        f"{layer['size']}×{layer['size']}",
        str(layer["channels"]),
        f"{layer['parameters']:,}" if layer["parameters"] else "",
        _flops(2 * layer["macs"]) if layer["macs"] else "",
    )


def _flops(flops: int) -> str:
    return f"{flops / 1e9:.2f} G" if flops >= 1e7 else f"{flops / 1e6:.3f} M"
