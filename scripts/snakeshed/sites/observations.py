"""Observations: the rows of a site table as its file has them, in any of the formats.

Reading keeps types where Arrow has them and changes no value. What a cell yields never depends
on other rows: numbers are parsed to the nearest double, and identifiers in CSV stay text.
"""

from __future__ import annotations

import textwrap
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

import pyarrow as pa
import pyarrow.csv

from snakeshed.errors import TableError

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

NULL_TEXTS = frozenset(pyarrow.csv.ConvertOptions().null_values)

# What the readers of these formats raise on a damaged file; openpyxl and zipfile have no errors of
# their own for most of it.
_READER_FAULTS = (
    pa.ArrowException,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    ParseError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Observations:
    """The rows of one site table.

    Attributes
    ----------
    table : pyarrow.Table
        The columns of the file, without its geometry, in the order of the file.
    rows : list of int
        Number of each row among the data rows of the file, from 1.
    empty_rows : int
        Rows without any value, which are not in `table`; they count in `rows`.
    points : list of shapely geometries or None, or None
        The geometry of each row, if it was asked for.
    crs : str or None
        CRS of `points`: an authority and a code where it has them, else WKT.
    remarks : tuple of str
        What a person should know about how the file was read.
    """

    table: pa.Table
    rows: list[int]
    empty_rows: int = 0
    points: list[BaseGeometry | None] | None = None
    crs: str | None = None
    remarks: tuple[str, ...] = ()

    def cells(self, column: str) -> list[Any]:
        """Return the cells of a column as Python values; None for what Python cannot hold.

        A file may have instants beyond the year 9999, which are neither numbers nor names.
        """
        try:
            return self.table[column].to_pylist()
        except (ValueError, OverflowError):
            return [_value(cell) for cell in self.table[column]]


@contextmanager
def reading(name: str, kind: str) -> Iterator[None]:
    """Turn what a reader raises on a damaged file into a problem of the table."""
    try:
        yield
    except _READER_FAULTS as error:
        raise _unreadable(name, kind, error) from error


def choose_one(
    sheet: str | None, there: list[str], kind: str, name: str, key: str = "sites.sheet"
) -> str:
    """Return the sheet (or layer) to read; `key` of the configuration names it."""
    if sheet is not None and sheet in there:
        return sheet
    listed = ", ".join(repr(title) for title in there)
    if sheet is not None:
        found, next_step = f"no {kind} {sheet!r}", f"Correct {key}."
    elif len(there) == 1:
        return there[0]
    else:
        found, next_step = f"{len(there)} {kind}s", f"Name the {kind} in {key}."
    raise TableError(name, found, f"one of the {kind}s {listed}", next_step)


def check_column_names(names: list[str], name: str) -> None:
    """Refuse columns that cannot be told apart."""
    twice = sorted({title for title in names if names.count(title) > 1 and title})
    unnamed = [index for index, title in enumerate(names, start=1) if not title]
    if twice or unnamed:
        found = [f"several columns named {title!r}" for title in twice]
        found += [f"no name for column {index}" for index in unnamed]
        raise TableError(
            name,
            "; ".join(found),
            "a first row with a different name for every column",
            "Rename them in the table.",
        )


def plain_table(table: pa.Table) -> pa.Table:
    """Return a table without the metadata and the encodings of the file it comes from."""
    fields = []
    for field in table.schema:
        kind = field.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            kind = pa.string()
        fields.append(pa.field(field.name, kind))
    return table.replace_schema_metadata(None).cast(pa.schema(fields))


def without_empty_rows(table: pa.Table) -> Observations:
    """Return the rows that have any value, with their numbers."""
    present = [False] * table.num_rows
    for column in table.columns:
        present = [
            before or here
            for before, here in zip(present, column.is_valid().to_pylist(), strict=True)
        ]
    rows = [number for number, any_value in enumerate(present, start=1) if any_value]
    # Rows after the last value are left over from formatting: they are no rows at all.
    return Observations(
        table.filter(pa.array(present, pa.bool_())),
        rows,
        empty_rows=(rows[-1] if rows else 0) - len(rows),
    )


def _value(cell: pa.Scalar) -> Any:
    """Return a cell as a Python value, or None where Python has none for it."""
    try:
        return cell.as_py()
    except (ValueError, OverflowError):
        return None


def without_rows(name: str) -> TableError:
    """Return the problem of a table with a header at most."""
    return TableError(
        name, "no rows", "at least one site", "Check that this is the right file and sheet."
    )


def without_geometry(name: str) -> TableError:
    """Return the problem of a file that has no geometry although no x and y are named."""
    return TableError(
        name,
        "no geometry",
        "points, since sites.columns names no x and y",
        "Set sites.columns.x and sites.columns.y, and sites.crs or sites.utm.",
    )


def not_utf8(name: str, place: str) -> TableError:
    """Return the problem of a CSV file in another encoding."""
    return TableError(
        name,
        f"text that is not UTF-8{place}",
        "a CSV file in UTF-8",
        "Save the table again in this encoding (spreadsheet programs call it CSV UTF-8).",
    )


def _unreadable(name: str, kind: str, error: Exception) -> TableError:
    """Return the problem of a file that a reader refused."""
    # Some readers quote the file, whatever is in it.
    words = "".join(sign if sign.isprintable() else " " for sign in str(error)).split()
    reason = " ".join(words) or type(error).__name__
    return TableError(
        name,
        f"a file that cannot be read as {kind} ({textwrap.shorten(reason, 200, placeholder=' …')})",
        f"{'an' if kind == 'XLSX' else 'a'} {kind} file",
        "Open it in the program that wrote it and save it again.",
    )
