"""Excel workbooks as site tables."""

from __future__ import annotations

import datetime
import re
import zipfile
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from snakeshed.errors import TableError
from snakeshed.progress import counted
from snakeshed.sites.observations import (
    NULL_TEXTS,
    Observations,
    check_column_names,
    choose_one,
    reading,
    without_empty_rows,
)

# How old Excel files begin, and encrypted new ones.
_OLE_MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")
# A worksheet has no more rows. A damaged file may say so, and would be padded with empty ones.
_XLSX_ROWS = 1_048_576
# An XLSX file is unpacked into memory, and a small one may unpack to anything.
_XLSX_UNPACKED_BYTES = 1_000_000_000
# A piece of a number format: a place of a digit; text; a condition, or a blank as wide as a sign.
_FORMAT_PART = re.compile(r'(?P<digit>0)|(?P<literal>"[^"]*"|\\.|[-() ])|\[[^]]*\]|_.')
_EXACT_IN_DOUBLE = 2**53


def read_xlsx(path: Path, name: str, sheet: str | None, id_column: str | None) -> Observations:
    """Read one sheet of an XLSX file: values, not formulas; a header in the first row."""
    _check_xlsx(path, name)
    lines = _xlsx_lines(path, name, sheet, formulas=False)
    header, body = (lines[0], lines[1:]) if lines else ([], [])
    # Columns without a name and without a value are left over from formatting.
    used = sorted({index for line in lines for index, cell in enumerate(line) if cell is not None})
    names = [
        str(header[index]) if index < len(header) and header[index] is not None else ""
        for index in used
    ]
    check_column_names(names, name)
    # A cell beyond the end of its line is empty; lines are not made equally long, since a single
    # cell in the last corner of a sheet would make them as wide as that.
    columns = [
        _column(
            [line[index] if index < len(line) else None for line in body],
            is_identifier=title == id_column,
        )
        for index, title in zip(used, names, strict=True)
    ]
    read = without_empty_rows(pa.table(columns, names=names))
    uncalculated = _formulas_without_result(path, name, sheet, lines)
    if not uncalculated:
        return read
    remark = (
        f"{name}: {uncalculated} cells hold formulas without a stored result and count as empty; "
        "open the file in a spreadsheet program and save it"
    )
    return replace(read, remarks=(remark,))


def _check_xlsx(path: Path, name: str) -> None:
    """Refuse what is no XLSX file, although it is called so, and one that unpacks to too much."""
    with path.open("rb") as file:
        if file.read(len(_OLE_MAGIC)) == _OLE_MAGIC:
            raise TableError(
                name,
                "an old .xls file, or one that is protected by a password",
                "an XLSX file without a password",
                "Open it and save it as an Excel workbook (.xlsx) without a password.",
            )
    with reading(name, "XLSX"), zipfile.ZipFile(path) as parts:
        unpacked = sum(part.file_size for part in parts.infolist())
    if unpacked > _XLSX_UNPACKED_BYTES:
        raise TableError(
            name,
            f"{unpacked / 1e6:,.0f} MB of cells once unpacked",
            f"at most {_XLSX_UNPACKED_BYTES / 1e6:,.0f} MB",
            "Save the sheet as CSV or Parquet.",
        )


def _xlsx_lines(path: Path, name: str, sheet: str | None, formulas: bool) -> list[list[Any]]:
    """Return the cells of each line of a sheet, up to the last one that is not empty."""
    from openpyxl import load_workbook

    with reading(name, "XLSX"):
        book = load_workbook(path, read_only=True, data_only=not formulas)
        titles = list(book.sheetnames)
    title = choose_one(sheet, titles, "sheet", name)
    lines: list[list[Any]] = []
    with reading(name, "XLSX"), closing(book):
        if not hasattr(book[title], "reset_dimensions"):
            raise ValueError(f"the sheet {title!r} is a chart")
        # Some programs write a wrong extent of the sheet, which would cut it.
        book[title].reset_dimensions()
        # Cells cost more than their values; few books have a format that pads codes.
        padded = any(_code_format(each) for each in book._number_formats)
        rows = counted(book[title].iter_rows(values_only=not padded), f"reading {name}")
        for number, cells in enumerate(rows, start=1):
            if number > _XLSX_ROWS:
                raise ValueError(f"more than {_XLSX_ROWS:,} rows")
            line = [_as_shown(cell) for cell in cells] if padded else list(cells)
            while line and line[-1] is None:
                line.pop()
            lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _as_shown(cell: Any) -> Any:
    """Return a cell's value, or the text that is shown where its format pads it with zeros."""
    value = cell.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    # Beyond 15 digits, a spreadsheet shows others than are stored.
    if not (0 <= value < 10**15 and value == int(value)):
        return value
    tokens = _code_format(cell.number_format)
    if tokens is None:
        return value
    places = sum(token is None for token in tokens)
    digits = str(int(value)).zfill(places)
    # The first place takes all digits that the others leave.
    shares = iter([digits[: len(digits) - places + 1], *digits[len(digits) - places + 1 :]])
    return "".join(next(shares) if token is None else token for token in tokens)


@lru_cache(maxsize=1000)
def _code_format(number_format: str) -> tuple[str | None, ...] | None:
    r"""Return the places (None) of digits and the text of a format that pads with zeros, or None.

    Formats such as ``00000000``, ``00000-0000``, ``"HUC "00000000`` and ``000\-00\-0000`` are
    those of codes. One with a decimal point, with grouped digits, or of dates is not.
    """
    tokens: list[str | None] = []
    rest = number_format
    while rest and not rest.startswith(";"):
        part = _FORMAT_PART.match(rest)
        if part is None:
            return None
        rest = rest[part.end() :]
        if part["digit"]:
            tokens.append(None)
        elif part["literal"]:
            tokens.append(part["literal"].removeprefix("\\").strip('"'))
    return tuple(tokens) if tokens.count(None) > 1 else None


def _formulas_without_result(
    path: Path, name: str, sheet: str | None, lines: list[list[Any]]
) -> int:
    """Return how many cells of a sheet hold formulas that no program has calculated yet."""
    with zipfile.ZipFile(path) as parts:
        # Few tables have formulas at all; without any, the sheet need not be read again.
        sheets = [part for part in parts.namelist() if part.startswith("xl/worksheets/")]
        if not any(re.search(rb"<(?:\w+:)?f[ >/]", parts.read(part)) for part in sheets):
            return 0
    return sum(
        isinstance(cell, str)
        and cell.startswith("=")
        and (index >= len(values) or values[index] is None)
        for stated, values in zip_longest(
            _xlsx_lines(path, name, sheet, formulas=True), lines, fillvalue=()
        )
        for index, cell in enumerate(stated)
    )


def _column(cells: list[Any], is_identifier: bool) -> pa.Array:
    """Return the cells of one XLSX column as the plainest Arrow type that holds all of them."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if str in kinds and len(kinds) > 1 and not is_identifier:
        # Among numbers or dates, NA and its kin are missing values; a site may have that name.
        missing = [isinstance(cell, str) and cell in NULL_TEXTS for cell in cells]
        without = [None if gone else cell for cell, gone in zip(cells, missing, strict=True)]
        if str not in {type(cell) for cell in without}:
            cells, kinds = without, kinds - {str}
    if kinds == {int, float} and not any(
        type(cell) is int and abs(cell) > _EXACT_IN_DOUBLE for cell in cells
    ):
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    types = {
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
        str: pa.string(),
        datetime.datetime: pa.timestamp("us"),
        datetime.date: pa.date32(),
        datetime.time: pa.time64("us"),
        datetime.timedelta: pa.duration("us"),
    }
    fits_int = all(-(2**63) <= cell < 2**63 for cell in cells if type(cell) is int)
    if len(kinds) == 1 and kinds <= types.keys() and fits_int:
        return pa.array(cells, types[kinds.pop()])
    return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())
