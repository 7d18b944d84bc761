"""Promises of the package as a whole: light imports, complete exports, stable error codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import maskwright

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def _modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_the_package_loads_no_framework() -> None:
    loaded = _modules_after("import maskwright")
    assert not loaded & {"torch", "numpy", "pydantic", "scipy", "skimage", "PIL", "rich", "typer"}


def test_the_command_line_answers_help_without_numbers_or_networks() -> None:
    loaded = _modules_after("import maskwright.cli")
    assert not loaded & {"torch", "numpy", "pydantic", "scipy", "skimage", "PIL", "tifffile"}


def test_every_public_name_can_be_imported() -> None:
    assert set(maskwright.__all__) == set(maskwright._HOME)
    for name in maskwright.__all__:
        assert getattr(maskwright, name) is not None


def test_public_names_win_over_rooms_of_the_same_name_in_any_order() -> None:
    rooms = "import maskwright.train.trainer, maskwright.predict.engine, maskwright.report.html"
    more = "import maskwright.evaluate.summary, maskwright as mw; from maskwright import evaluate"
    checks = "assert all(map(callable, (mw.train, mw.predict, mw.evaluate, mw.report, evaluate)))"
    subprocess.run([sys.executable, "-W", "error", "-c", f"{rooms}; {more}; {checks}"], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(maskwright, "no_such_name")


def test_no_pickle_is_ever_opened() -> None:
    forbidden = re.compile(
        r"torch\.load(?!\(.*weights_only=True)|pickle|joblib|weights_only=False|allow_pickle=True"
    )
    for path in SOURCES:
        code = [line for line in path.read_text(encoding="utf-8").splitlines()
                if forbidden.search(line) and not re.search(r'"""|#|never a pickle|a pickle|"', line)]  # fmt: skip  # noqa: E501
        assert code == [], path


def test_error_codes_are_kebab_case() -> None:
    pattern = re.compile(r'(?:Error|Problem)\(\s*"([^"]+)",')
    codes = {code for path in SOURCES for code in pattern.findall(path.read_text(encoding="utf-8"))}
    assert len(codes) > 40
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", code) for code in codes), codes


def test_files_stay_short_enough_to_be_read() -> None:
    long = {
        p.name: n for p in SOURCES if (n := len(p.read_text(encoding="utf-8").splitlines())) > 420
    }
    assert long == {}
