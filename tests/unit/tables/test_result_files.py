"""A result file that was damaged is never read as if it were right."""

from __future__ import annotations

import random
import subprocess
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
import shapely

from snakeshed.errors import ResultError, TableError
from snakeshed.result_files import check_result, read_result, record_of, result_file
from snakeshed.tables.gather import concatenate
from snakeshed.tables.geoparquet import read_arrow, read_descriptions, read_table, write_table


@pytest.fixture
def table(tmp_path):
    """A table of 200 catchments with all kinds of columns."""
    generator = np.random.default_rng(17)
    frame = pd.DataFrame(
        {
            "site_id": [f"site {k:03}" for k in range(200)],
            "area_km2": generator.gamma(1.0, 2.0, 200),
            "cells": generator.integers(1, 9999, 200),
            "touches_edge": generator.random(200) < 0.1,
        }
    )
    outlines = shapely.buffer(shapely.points(generator.random((200, 2)) * 1e4), 100, quad_segs=2)
    path = tmp_path / "catchments.parquet"
    descriptions = dict.fromkeys([*frame, "geometry"], "a column")
    write_table(frame, path, descriptions, outlines, "EPSG:32611")
    return path


def flip(path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


READERS = {
    "read_table": read_table,
    "one column": lambda path: read_table(path, ["area_km2"]),
    "read_descriptions": read_descriptions,
    "gather": lambda path: concatenate([path]),
    "check_result": check_result,
}


@pytest.mark.parametrize("reader", READERS)
def test_a_single_flipped_bit_stops_every_reader(table, reader):
    content = table.read_bytes()
    generator = random.Random(reader)
    for bit in generator.sample(range(8 * len(content)), 100):
        flip(table, bit)
        with pytest.raises(ResultError) as caught:
            READERS[reader](table)
        message = str(caught.value)
        assert message.startswith(f"{table}: found a damaged or modified file (SHA-256 ")
        assert message.endswith(
            "expected the file as its job wrote it. Delete it and run the same command again: "
            "only what is missing is made."
        )
        table.write_bytes(content)
    READERS[reader](table)


def test_page_checksums_protect_readers_without_the_record(table):
    before, content = read_arrow(table), table.read_bytes()
    silent = 0
    bits = random.Random(3).sample(range(8 * len(content)), 400)
    for bit in bits:
        flip(table, bit)
        with suppress(TableError):
            silent += not read_arrow(table, recorded=False).equals(before)
        table.write_bytes(content)
    # In the footer, which no checksum covers.
    assert silent < 0.02 * len(bits)


@pytest.mark.parametrize("size", [0, 3, 1000])
def test_a_table_that_was_cut_off_is_named(table, size):
    table.write_bytes(table.read_bytes()[:size])
    with pytest.raises(ResultError, match="catchments.parquet: found a damaged or modified file"):
        read_table(table)
    with pytest.raises(TableError, match="found a table that cannot be read"):
        read_table(table, recorded=False)


def test_a_file_without_its_record_is_named(table):
    record_of(table).unlink()
    with pytest.raises(ResultError) as caught:
        read_table(table)
    assert str(caught.value) == (
        f"{table}: found no checksum file (.catchments.parquet.sha256); expected the hidden file "
        "that the job wrote beside it. Copy that file as well, or delete this result and run the "
        "same command again: only what is missing is made."
    )


@pytest.mark.parametrize("record", ["", "\xff\xfe", "0" * 64, "catchments.parquet"])
def test_a_damaged_record_is_no_proof(table, record):
    record_of(table).write_text(record, encoding="latin-1")
    with pytest.raises(ResultError, match="found a damaged or modified file"):
        read_table(table)


def test_text_is_read_as_it_was_written_or_not_at_all(tmp_path):
    path = tmp_path / "terrain.json"
    with result_file(path) as part:
        part.write_text('{"x": "ä"}', encoding="utf-8")
    assert read_result(path) == '{"x": "ä"}'
    for bit in range(8 * path.stat().st_size):
        flip(path, bit)
        with pytest.raises(ResultError, match=r"terrain.json: found a damaged or modified file"):
            read_result(path)
        flip(path, bit)
    path.unlink()
    with pytest.raises(ResultError, match=r"terrain.json: found no such file; expected the file"):
        read_result(path)
    # While Snakemake plans, a missing file is no error.
    with pytest.raises(FileNotFoundError):
        check_result(path)


def test_an_interrupted_writer_leaves_the_file_and_its_record_as_they_were(tmp_path):
    path = tmp_path / "a.json"
    with result_file(path) as part:
        part.write_text("old")
    with pytest.raises(KeyboardInterrupt), result_file(path) as part:
        part.write_text("new")
        raise KeyboardInterrupt
    assert read_result(path) == "old"
    assert {file.name for file in tmp_path.iterdir()} == {"a.json", ".a.json.sha256"}


def test_sha256sum_reads_the_records(table):
    done = subprocess.run(
        ["sha256sum", "--check", record_of(table).name],
        cwd=table.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "catchments.parquet: OK\n"


@pytest.mark.parametrize("reader", [read_result, check_result])
def test_a_file_that_the_disk_cannot_read_is_named(tmp_path, reader):
    # Its first page belongs to nobody.
    path = tmp_path / "memory"
    path.symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match="Input/output error") as caught:
        reader(path)
    assert caught.value.filename == str(path)
