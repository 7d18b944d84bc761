"""Packages that only some people need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from maskwright.errors import MaskwrightError


def load_extra(module: str, *, extra: str) -> ModuleType:
    """Import a package that belongs to an extra.

    Args:
        module: Its name.
        extra: The extra of maskwright that installs it.

    Raises:
        MaskwrightError: ``extra-missing``, with the command that installs it.

    Example:
        >>> load_extra("json", extra="onnx").__name__
        'json'
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise MaskwrightError(
            "extra-missing",
            package,
            expected="this package to be installed",
            found=f"none ({error})",
            remedy=f"run pip install 'maskwright[{extra}]'",
        ) from error
