"""Tables, with pandas' readers' formats checked through pyarrow, csv and json."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import DataError, OutputError
from maskwright.io.table import read_table, write_long_table, write_table

ROWS: list[dict[str, Any]] = [
    {"case": "a", "dice": 0.1 + 0.2, "n": 3, "empty": False},
    {"case": "b,\n\"c\"", "dice": math.nan, "n": 2**53 + 1, "empty": True, "note": "µm"},
    {"case": "d", "dice": None, "n": -1, "hd": math.inf},
]  # fmt: skip
COLUMNS = ["case", "dice", "n", "empty", "note", "hd"]


def _read_parquet(path: Path) -> pyarrow.Table:
    return pyarrow.parquet.read_table(path)


def _error(path: Path, content: bytes) -> DataError:
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(path)
    return caught.value


def test_csv_keeps_every_digit_and_the_order_of_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", ROWS)
    read = read_table(tmp_path / "a.csv")
    assert list(read[0]) == COLUMNS
    assert float(read[0]["dice"]) == 0.1 + 0.2
    assert [row["dice"] for row in read[1:]] == ["", ""]
    assert [row["n"] for row in read] == ["3", str(2**53 + 1), "-1"]
    assert [row["empty"] for row in read] == ["false", "true", ""]
    assert (read[1]["case"], read[1]["note"], read[2]["hd"]) == ('b,\n"c"', "µm", "inf")


def test_json_has_null_for_what_is_not_a_number(tmp_path: Path) -> None:
    write_table(tmp_path / "a.json", ROWS)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert "Infinity" not in text
    read = json.loads(text)
    assert list(read[0]) == COLUMNS
    assert [row["dice"] for row in read] == [0.1 + 0.2, None, None]
    assert (read[0]["hd"], read[2]["hd"], read[1]["n"]) == (None, "inf", 2**53 + 1)


def test_parquet_columns_have_their_types(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", ROWS)
    table = _read_parquet(tmp_path / "a.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {"case": "string", "dice": "double", "n": "int64", "empty": "bool",
                     "note": "string", "hd": "double"}  # fmt: skip
    assert list(types) == COLUMNS
    assert table["dice"].to_pylist() == [0.1 + 0.2, None, None]
    assert table["n"].to_pylist() == [3, 2**53 + 1, -1]
    assert table["hd"].to_pylist() == [None, None, math.inf]


def test_mixed_and_empty_parquet_columns(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": "x", "c": None, "d": 2**70}, {"a": 0.5, "b": 2, "c": None, "d": 1}]
    write_table(tmp_path / "a.parquet", rows)
    table = _read_parquet(tmp_path / "a.parquet")
    assert [str(field.type) for field in table.schema] == ["double", "string", "double", "string"]
    assert table["a"].to_pylist() == [1.0, 0.5]
    assert table["b"].to_pylist() == ["x", "2"]
    assert table["d"].to_pylist() == [str(2**70), "1"]


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"x": np.float64(0.25), "n": np.int64(7), "b": np.bool_(True),
                                   "f": np.float32(np.nan)}]  # fmt: skip
    write_table(tmp_path / "a.csv", rows)
    assert read_table(tmp_path / "a.csv") == [{"x": "0.25", "n": "7", "b": "true", "f": ""}]
    for suffix in (".json", ".parquet"):
        write_table(tmp_path / f"a{suffix}", rows)
    assert str(_read_parquet(tmp_path / "a.parquet").schema.field("n").type) == "int64"


def test_text_that_looks_like_a_formula_is_disarmed_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    texts = ["=1+1", "+a", "-a.png", "@x", "'=y", "'plain", "-5", "+1e3", "a=b", ""]
    write_table(path, [{"=name": text, "x": -0.5} for text in texts])
    with path.open(encoding="utf-8", newline="") as file:
        raw = [row[0] for row in csv.reader(file)]
    expected = [
        "'=name",
        "'=1+1",
        "'+a",
        "'-a.png",
        "'@x",
        "''=y",
        "'plain",
        "-5",
        "+1e3",
        "a=b",
        "",
    ]
    assert raw == expected
    assert [row["=name"] for row in read_table(path)] == texts
    assert {row["x"] for row in read_table(path)} == {"-0.5"}


@given(st.lists(st.fixed_dictionaries({"a": st.text(), "b": st.text()}), max_size=5))
def test_any_text_survives_csv(tmp_path_factory: Any, rows: list[dict[str, str]]) -> None:
    path = tmp_path_factory.mktemp("table") / "a.csv"
    try:
        write_table(path, rows)
    except UnicodeEncodeError:
        return
    if rows:
        assert read_table(path) == rows


def test_other_suffixes_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.csv, \.parquet or \.json"):
        write_table(tmp_path / "a.xlsx", ROWS)
    for suffix in (".csv", ".json", ".parquet"):
        with pytest.raises(OutputError):
            write_table(tmp_path / "absent" / f"a{suffix}", ROWS)
        write_table(tmp_path / f"none{suffix}", [])
    assert json.loads((tmp_path / "none.json").read_text()) == []


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_marks_and_line_ends(
    tmp_path: Path, delimiter: str, mark: bytes, end: str
) -> None:
    lines = [["case", '"x,;\t""y"'], ["a", "1.5"], [], ["b", '"2\n3"'], []]
    text = end.join(delimiter.join(cells) for cells in lines)
    (tmp_path / "a.csv").write_bytes(mark + text.encode())
    assert read_table(tmp_path / "a.csv") == [
        {"case": "a", 'x,;\t"y': "1.5"},
        {"case": "b", 'x,;\t"y': "2\n3"},
    ]


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "table-empty", "line 1"),
        (b"\xef\xbb\xbf\n \n", "table-empty", "line 1"),
        (b"a,b\n1,2\n\n1,2,3\n", "table-ragged", "3 in line 4"),
        (b"a,b\n1\n", "table-ragged", "1 in line 2"),
        (b'a,b\n"x\ny",2\n1\n', "table-ragged", "1 in line 4"),
        (b"a,b,a\n1,2,3\n", "table-columns", "'a' more than once in line 1"),
        (b'a,b\n"1,2\n', "table-damaged", "line 2"),
        (b'a,b\n"1"x,2\n', "table-damaged", "line 2"),
        ("a,b\n1,µ\n".encode("latin-1"), "table-encoding", "line 2"),
        ("a,b\n".encode("utf-16"), "table-encoding", "line 1"),
    ],
)
def test_tables_that_are_not_strict_are_refused_with_the_line(
    tmp_path: Path, content: bytes, code: str, words: str
) -> None:
    error = _error(tmp_path / "a.csv", content)
    assert error.code == code
    assert words in str(error)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="table-not-readable"):
        read_table(tmp_path / "absent.csv")


def test_a_table_of_many_rows_is_written_from_rows_that_are_made_as_they_are_needed(
    tmp_path: Path,
) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for n in range(70_000):
            yield {"n": n, "x": 1 if n % 2 else 0.5, "only_late": n if n > 69_000 else None}

    write_long_table(tmp_path / "a.parquet", rows)
    read = _read_parquet(tmp_path / "a.parquet")
    assert read.column("n").to_pylist() == list(range(70_000))
    assert [str(field.type) for field in read.schema] == ["int64", "double", "int64"]
    assert read.column("only_late").null_count == 69_001
    write_long_table(tmp_path / "a.csv", rows)
    lines = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[1], lines[-1]) == ("n,x,only_late", "0,0.5,", "69999,1,69999")
    with pytest.raises(OutputError, match="table-format"):
        write_long_table(tmp_path / "a.json", rows)
