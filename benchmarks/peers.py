"""Where other programs run: an environment of their own, so that they ask nothing of ours.

Imports the standard library alone, since the programs that run there import it too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PEERS = HERE / "work" / "peers"
NNUNET_VERSION = "2.8.1"
# Without their own requirements: those ask for timm, and that for torchvision, of which there is
# no build beside the pinned PyTorch for processors.
WITHOUT_DEPENDENCIES = (
    f"nnunetv2=={NNUNET_VERSION}",
    "dynamic-network-architectures==0.4.4",
    "acvl-utils==0.2.6",
    "batchgenerators==0.25.5",
    "batchgeneratorsv2==0.3.6",
    "fft-conv-pytorch==1.2.0",
)
WITH_DEPENDENCIES = (
    "monai==1.6.1",
    "blosc2==4.14.1",
    "einops==0.8.2",
    "future==1.0.0",
    "graphviz",
    "matplotlib",
    "nibabel==5.4.2",
    "pandas",
    "requests",
    "scikit-learn",
    "seaborn==0.13.2",
    "tqdm",
    "yacs==0.1.8",
)
_TIMM = ("timm", "timm.layers", "timm.models", "timm.models.eva")


def install(environment: Path = PEERS) -> None:
    """Make the environment of all peers, with maskwright beside them, or add what it lacks.

    Args:
        environment: Folder of the environment.
    """
    python = python_of(environment)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(python), "-m", "pip", "install"]
    ours = f"{HERE.parent}[onnx,openvino]"
    pinned = ["-c", str(HERE.parent / "constraints.txt"), "torch==2.13.0"]
    subprocess.run([*pip, *pinned, "--editable", ours, *WITH_DEPENDENCIES], check=True)
    subprocess.run([*pip, "--no-deps", *WITHOUT_DEPENDENCIES], check=True)


def python_of(environment: Path) -> Path:
    """The interpreter of an environment."""
    folder, name = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    return environment / folder / name


def has(module: str, python: str | Path) -> bool:
    """Whether an interpreter finds a module, without importing it."""
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    return subprocess.run([str(python), "-c", code], check=False).returncode == 0


def count_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def leave_out_timm() -> None:
    """Put empty modules in the place of timm, which must come before nnU-Net is imported.

    nnU-Net imports its transformers beside the U-Nets, and they name classes of timm. No plan of
    its default planner uses them.
    """
    for name in _TIMM:
        sys.modules.setdefault(name, _Empty(name))


class _Empty(types.ModuleType):
    """A module in which every name is an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})
