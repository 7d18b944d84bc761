"""maskwright: from a folder of images and hand-drawn masks to a trained U-Net and its masks.

Importing this package loads no framework; the first use of a name loads what it needs.

Example:
    >>> import maskwright as mw
    >>> sorted(mw.__all__)[:3]
    ['CheckReport', 'DataConfig', 'Evaluation']
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
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
    from maskwright.data.check import check_dataset as check
    from maskwright.data.sample import write_sample
    from maskwright.errors import MaskwrightError
    from maskwright.evaluate.measuring import measure
    from maskwright.nn.unet import build_unet
    from maskwright.workflow.comparing import compare
    from maskwright.workflow.cross_validation import cross_validate
    from maskwright.workflow.evaluation import Evaluation, evaluate
    from maskwright.workflow.exporting import export
    from maskwright.workflow.importing import import_weights
    from maskwright.workflow.planning import plan
    from maskwright.workflow.prediction import predict
    from maskwright.workflow.predictions import Predictions
    from maskwright.workflow.quantising import quantise
    from maskwright.workflow.reporting import report
    from maskwright.workflow.run import Run, open_run
    from maskwright.workflow.self_training import self_train
    from maskwright.workflow.training import train

try:
    __version__ = version("maskwright")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"

# Public name → (module, name there); the keys are all that is public.
_HOME = {
    "CheckReport": ("data.check", "CheckReport"),
    "DataConfig": ("config", "DataConfig"),
    "Evaluation": ("workflow.evaluation", "Evaluation"),
    "MaskwrightError": ("errors", "MaskwrightError"),
    "ModelConfig": ("config", "ModelConfig"),
    "PredictConfig": ("config", "PredictConfig"),
    "Predictions": ("workflow.predictions", "Predictions"),
    "Run": ("workflow.run", "Run"),
    "RunConfig": ("config", "RunConfig"),
    "TrainConfig": ("config", "TrainConfig"),
    "build_unet": ("nn.unet", "build_unet"),
    "check": ("data.check", "check_dataset"),
    "compare": ("workflow.comparing", "compare"),
    "cross_validate": ("workflow.cross_validation", "cross_validate"),
    "evaluate": ("workflow.evaluation", "evaluate"),
    "export": ("workflow.exporting", "export"),
    "import_weights": ("workflow.importing", "import_weights"),
    "measure": ("evaluate.measuring", "measure"),
    "open_run": ("workflow.run", "open_run"),
    "plan": ("workflow.planning", "plan"),
    "predict": ("workflow.prediction", "predict"),
    "quantise": ("workflow.quantising", "quantise"),
    "report": ("workflow.reporting", "report"),
    "self_train": ("workflow.self_training", "self_train"),
    "train": ("workflow.training", "train"),
    "write_sample": ("data.sample", "write_sample"),
}

__all__ = [
    "CheckReport",
    "DataConfig",
    "Evaluation",
    "MaskwrightError",
    "ModelConfig",
    "PredictConfig",
    "Predictions",
    "Run",
    "RunConfig",
    "TrainConfig",
    "build_unet",
    "check",
    "compare",
    "cross_validate",
    "evaluate",
    "export",
    "import_weights",
    "measure",
    "open_run",
    "plan",
    "predict",
    "quantise",
    "report",
    "self_train",
    "train",
    "write_sample",
]


class _Package(ModuleType):
    """The package itself: its public names are loaded at their first use.

    Some are named as a room is (``plan``, ``train``, ``predict``, ``evaluate``, ``report``).
    Importing a room makes the import system set it as an attribute here; the public name has to
    win.
    """

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *_HOME})


def _public(name: str) -> property:
    def load(package: _Package) -> Any:
        module, attribute = _HOME[name]
        return getattr(import_module(f"maskwright.{module}"), attribute)

    def announce(package: _Package, room: Any) -> None:
        if not isinstance(room, ModuleType):
            raise AttributeError(f"maskwright.{name} cannot be replaced")

    return property(load, announce)


for _name in _HOME:
    setattr(_Package, _name, _public(_name))
sys.modules[__name__].__class__ = _Package
