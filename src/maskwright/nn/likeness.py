"""Which settings a file of weights looks like, for messages that say what to set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maskwright.config import ModelConfig
from maskwright.errors import ConfigError
from maskwright.network_config import setting_text
from maskwright.nn.state_dict import Kind, Layer

_TOLD = 3


def settings_like(layers: Sequence[Layer], model: ModelConfig) -> dict[str, str]:
    """Settings in which a plain U-Net of such layers would differ from a network.

    Args:
        layers: The layers of a file.
        model: The network they were meant for.

    Returns:
        Settings and values as they are typed; only those that the shapes suggest.

    Example:
        >>> from maskwright.nn.state_dict import layers_of
        >>> from maskwright.nn.unet import build_unet
        >>> model = ModelConfig(depth=2, width=4, channels=3, norm="none")
        >>> settings_like(layers_of(build_unet(model).state_dict()), ModelConfig(width=4))
        {'channels': '3', 'depth': '2', 'norm': 'none'}
    """
    convolutions = _of_kind(layers, "convolution")
    ups, points, norms = (_of_kind(layers, kind) for kind in ("up", "point", "norm"))
    if not convolutions:
        return {}
    like: dict[str, object] = {"dims": len(convolutions[0].shape) - 2}
    like["channels"] = min(layer.shape[1] for layer in convolutions)
    classes = {layer.shape[0] for layer in points}
    if len(classes) == 1:
        like["classes"] = max(2, classes.pop())
        if len(points) in (1, len(ups)):
            like["levels"] = "supervised" if len(points) > 1 else "none"
    if ups:
        like["depth"] = len(ups)
        like["convolutions"] = max(1, len(convolutions) // (2 * len(ups) + 1))
        like["up_bias"] = any("bias" in up.tensors for up in ups)
        finest = min(layer.shape[0] for layer in convolutions)
        widths = (finest, *sorted(up.shape[0] for up in ups))
        if widths != model.level_widths and model.widen == "first":
            doubled = tuple(finest << level for level in range(len(widths)))
            like |= {"width": finest} if widths == doubled else {"widths": widths}
    else:
        like["up"] = "resize"
    if not norms:
        like["norm"] = "none"
    elif all(norm.has_statistics for norm in norms):
        like["norm"] = "batch"
    elif model.norm not in ("instance", "group"):
        like["norm"] = "instance"
    return {
        name: setting_text(value) for name, value in like.items() if getattr(model, name) != value
    }


def mismatch(
    subject: str,
    *,
    surplus: Sequence[str],
    missing: Sequence[str] = (),
    like: Mapping[str, str] | None = None,
) -> ConfigError:
    """The error for weights that do not fit a network.

    Args:
        subject: The file.
        surplus: Their layers that found no place, with their shapes.
        missing: Our layers that found no weights, with their shapes.
        like: What :func:`settings_like` gave.
    """
    found = [f"nothing for {_listed(missing)}"] if missing else []
    found += [f"no place for {_listed(surplus)}"] if surplus else []
    typed = " ".join(f"--set {name}={value}" for name, value in (like or {}).items())
    return ConfigError(
        "import-mismatch",
        subject,
        expected="weights for every layer of this network, and no others",
        found=" and ".join(found),
        remedy=f"try {typed}, as the shapes look"
        if typed
        else "only U-Nets of convolutions, normalisations and up-convolutions can be imported",
    )


def _of_kind(layers: Sequence[Layer], kind: Kind) -> list[Layer]:
    return [layer for layer in layers if layer.kind == kind]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(names[:_TOLD]) + more
