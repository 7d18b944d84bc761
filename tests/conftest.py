"""Options of the whole test run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Lets a test import what several tests share, and the code that builds a page of docs/.
sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parent / "evaluate"))
sys.path.append(str(Path(__file__).parent / "io"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-pages",
        action="store_true",
        help="write the generated pages of docs/ anew instead of comparing them",
    )
