"""Tables of results: written as CSV, Parquet or JSON, read as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from maskwright.errors import DataError, OutputError
from maskwright.io.durable import replace_file, write_text

Cell = str | int | float | bool | None

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TO_QUOTE = re.compile(r'[",;\t\r\n]')
_DELIMITERS = ",;\t"
_INT64 = range(-(2**63), 2**63)
_ROWS = 1 << 16


def write_table(path: Path, rows: Sequence[Mapping[str, Cell]]) -> None:
    r"""Write rows of named values durably, in the format the suffix names.

    Columns come in the order of their first appearance. ``None``, NaN and a missing value become
    an empty cell in CSV and null in Parquet and JSON. In JSON, which has no infinity, it becomes
    the text ``inf`` or ``-inf``. Text in CSV that a spreadsheet would run as a formula gets an
    apostrophe in front, which :func:`read_table` takes away again. A Parquet column that mixes
    text with numbers or truth values becomes text.

    Args:
        path: The file to create or replace: ``.csv``, ``.parquet`` or ``.json``.
        rows: One mapping from column to value for each row.

    Raises:
        OutputError: ``table-format`` for another suffix, or when writing fails.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.csv"
        ...     write_table(path, [{"case": "=a", "dice": 0.5}, {"case": "b", "hd": math.nan}])
        ...     path.read_text(encoding="utf-8")
        "case,dice,hd\n'=a,0.5,\nb,,\n"
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        columns = list(dict.fromkeys(name for row in rows for name in row))
        records = [{name: _json(_plain(row.get(name))) for name in columns} for row in rows]
        write_text(path, json.dumps(records, ensure_ascii=False, indent=1) + "\n")
    else:
        write_long_table(path, lambda: rows)


def write_long_table(path: Path, rows: Callable[[], Iterable[Mapping[str, Cell]]]) -> None:
    """Write rows as :func:`write_table` does, of which only some are ever held.

    Args:
        path: The file to create or replace: ``.csv`` or ``.parquet``.
        rows: Gives the rows, the same each time: columns and their types are looked up first.

    Raises:
        OutputError: ``table-format`` for another suffix, or when writing fails.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.csv"
        ...     write_long_table(path, lambda: ({"number": n} for n in range(3)))
        ...     path.read_text(encoding="utf-8").split()
        ['number', '0', '1', '2']
    """
    kinds: dict[str, set[type]] = {}
    suffix = path.suffix.lower()
    for row in rows():
        for name, value in row.items():
            kinds.setdefault(name, set()).add(_kind(_plain(value)))
    values = ([_plain(row.get(name)) for name in kinds] for row in rows())
    if suffix == ".csv":
        with (
            replace_file(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            if kinds:
                file.write(_line(list(kinds)))
            file.writelines(map(_line, values))
    elif suffix == ".parquet":
        _write_parquet(path, kinds, values)
    else:
        raise OutputError(
            "table-format",
            str(path),
            expected="the suffix .csv, .parquet or .json",
            found=repr(path.suffix),
            remedy=f"use {path.stem}.csv",
        )


def read_table(path: Path) -> list[dict[str, str]]:
    r"""Read a CSV file as text, strictly.

    The file is UTF-8 with or without a byte order mark, and its cells are separated by what the
    header line has most of: commas, semicolons or tabs. Blank lines are passed over.

    Args:
        path: The file.

    Returns:
        One mapping from column to cell for each row.

    Raises:
        DataError: For a file that is missing, empty or not UTF-8, a column named twice, or a row
            with more or fewer cells than the header, with the number of the line.

    Source: RFC 4180.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.csv"
        ...     write_text(path, "case;x\na;1,5\n")
        ...     read_table(path)
        [{'case': 'a', 'x': '1,5'}]
    """
    path = Path(path)
    text = _text(path)
    start = re.sub(r'"[^"]*"', "", text.lstrip("\r\n")[:100_000])
    first_line = re.split(r"[\r\n]", start, maxsplit=1)[0]
    delimiter = max(_DELIMITERS, key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    rows: list[dict[str, str]] = []
    try:
        for cells in reader:
            cells = [_unguarded(cell) for cell in cells]
            if not cells:
                continue
            if not columns:
                columns = cells
                _check_columns(path, columns, reader.line_num)
                continue
            if len(cells) != len(columns):
                raise _unreadable(
                    path,
                    "table-ragged",
                    f"{len(columns)} cells in every row",
                    f"{len(cells)} in line {reader.line_num}",
                    "mend that line; cells with the separator in them need quotes",
                )
            rows.append(dict(zip(columns, cells, strict=True)))
    except csv.Error as error:
        raise _unreadable(
            path,
            "table-damaged",
            "a CSV file",
            f"{error} in line {reader.line_num}",
            "mend that line, or save the table again as CSV",
        ) from error
    return rows


def _plain(value: Any) -> Cell:
    """A value as one of Python's own types, NaN as ``None``."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def _json(value: Cell) -> Cell:
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def _line(cells: Sequence[Cell]) -> str:
    # Python's own writer leaves a lone carriage return without quotes, which ends a row on reading.
    texts = [_cell(cell) for cell in cells]
    quoted = [
        '"' + text.replace('"', '""') + '"' if _TO_QUOTE.search(text) else text for text in texts
    ]
    return (",".join(quoted) or '""') + "\n"


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        guarded = _FORMULA.match(value) and not _NUMBER.fullmatch(value)
        return f"'{value}" if guarded else value
    return repr(value)


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _kind(value: Cell) -> type:
    """The type of a value; whole numbers that no column of numbers holds are text."""
    return str if type(value) is int and value not in _INT64 else type(value)


def _write_parquet(
    path: Path, kinds: Mapping[str, set[type]], values: Iterator[Sequence[Cell]]
) -> None:
    import pyarrow
    import pyarrow.parquet

    types = {name: _column_type(found - {type(None)}) for name, found in kinds.items()}
    schema = pyarrow.schema(list(types.items()))
    with (
        replace_file(path) as temporary,
        pyarrow.parquet.ParquetWriter(temporary, schema) as writer,
    ):
        while some := list(islice(values, _ROWS)):
            columns = zip(*some, strict=True)
            arrays = [_array(cells, of) for cells, of in zip(columns, types.values(), strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def _column_type(kinds: set[type]) -> Any:
    """The one Parquet type that holds values of these types."""
    import pyarrow

    if kinds == {bool}:
        return pyarrow.bool_()
    if kinds == {int}:
        return pyarrow.int64()
    return pyarrow.float64() if kinds <= {int, float} else pyarrow.string()


def _array(cells: Sequence[Cell], of: Any) -> Any:
    import pyarrow

    if of == pyarrow.string():
        cells = [None if cell is None else str(cell) for cell in cells]
    elif of == pyarrow.float64():
        cells = [None if cell is None else float(cell) for cell in cells]
    return pyarrow.array(cells, of)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(
            path,
            "table-not-readable",
            "a table that can be read",
            error.strerror or str(error),
            "check the path",
        ) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _unreadable(
            path,
            "table-encoding",
            "text in UTF-8",
            f"another encoding in line {line}",
            "save it as CSV in UTF-8",
        ) from error
    if not text.strip():
        raise _unreadable(
            path, "table-empty", "a header line", "an empty file in line 1", "export it again"
        )
    return text


def _check_columns(path: Path, columns: list[str], line: int) -> None:
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise _unreadable(
            path,
            "table-columns",
            "a name of its own for every column",
            f"{', '.join(map(repr, twice))} more than once in line {line}",
            "rename one of them",
        )


def _unreadable(path: Path, code: str, expected: str, found: str, remedy: str) -> DataError:
    return DataError(code, str(path), expected=expected, found=found, remedy=remedy)
