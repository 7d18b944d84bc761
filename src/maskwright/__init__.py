"""maskwright: from a folder of images and hand-drawn masks to a trained U-Net and its masks.

Importing this package loads no framework; the first use of a name loads what it needs.

Example:
    >>> import maskwright as mw
    >>> sorted(mw.__all__)[:3]
    ['CheckReport', 'DataConfig', 'MaskwrightError']
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskwright.config import (
        DataConfig,
        ModelConfig,
        PredictConfig,
        RunConfig,
        TrainConfig,
    )
    from maskwright.data.check import CheckReport
    from maskwright.errors import MaskwrightError
    from maskwright.nn.unet import build_unet
    from maskwright.workflow import (
        Predictions,
        Run,
        check,
        evaluate,
        open_run,
        predict,
        report,
        train,
        write_sample,
    )

try:
    __version__ = version("maskwright")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"

_HOME = {
    "DataConfig": "config",
    "ModelConfig": "config",
    "PredictConfig": "config",
    "RunConfig": "config",
    "TrainConfig": "config",
    "CheckReport": "data.check",
    "MaskwrightError": "errors",
    "build_unet": "nn.unet",
    "Predictions": "workflow",
    "Run": "workflow",
    "check": "workflow",
    "evaluate": "workflow",
    "open_run": "workflow",
    "predict": "workflow",
    "report": "workflow",
    "train": "workflow",
    "write_sample": "workflow",
}

__all__ = [
    "CheckReport",
    "DataConfig",
    "MaskwrightError",
    "ModelConfig",
    "PredictConfig",
    "Predictions",
    "Run",
    "RunConfig",
    "TrainConfig",
    "build_unet",
    "check",
    "evaluate",
    "open_run",
    "predict",
    "report",
    "train",
    "write_sample",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'maskwright' has no attribute {name!r}")
    value = getattr(import_module(f"maskwright.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
