"""File names of sites: safe, readable, and one for each identifier."""

from __future__ import annotations

import unicodedata

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from snakeshed.errors import TableError
from snakeshed.result_files import result_file
from snakeshed.sites.file_names import find_site, site_file, sites_in_shards

IDENTIFIERS = st.text(min_size=1, max_size=120)


@pytest.mark.parametrize(
    ("site_id", "name"),
    [
        ("stn_12", "stn_12"),
        ("118.2W-34.1N", "118.2W-34.1N"),
        ("Río Grande", "Río%20Grande"),
        ("黄河", "黄河"),
        ("a/b", "a%2Fb"),
        ("..", "%2E."),
        ("-x", "%2Dx"),
        ("50%", "50%25"),
        ("{wildcard}", "%7Bwildcard%7D"),
        ("<script>", "%3Cscript%3E"),
    ],
)
def test_names_are_readable_where_they_can_be(site_id, name):
    assert site_file(site_id) == name


@given(IDENTIFIERS)
@example(".")
@example("..")
@example("\x00")
@example("é" * 400)
def test_names_are_file_names(site_id):
    name = site_file(site_id)
    assert 0 < len(name.encode()) <= 180
    assert not set("/\\ {}*?\"'<>|:\n\x00") & set(name)
    assert name[0] not in ".-"
    assert unicodedata.normalize("NFC", name) == name


@given(IDENTIFIERS, IDENTIFIERS)
@example("é", "e\u0301")
@example("a/b", "a%2Fb")
@example("x" * 400, "x" * 400 + "y")
def test_each_identifier_has_a_name_of_its_own(one, other):
    assert (site_file(one) == site_file(other)) == (one == other)


@pytest.fixture
def sites(tmp_path):
    for shard, ids in (("00", ["a b", "stn_1"]), ("01", []), ("02", ["stn_12"])):
        frame = pd.DataFrame({"site_id": ids}).astype("str")
        with result_file(tmp_path / shard / "sites.parquet") as part:
            frame.to_parquet(part)
    return sites_in_shards(sorted(tmp_path.glob("*/sites.parquet")))


def test_each_site_is_found_in_its_shard(sites):
    assert sites == {
        "a%20b": ("a b", "00"),
        "stn_1": ("stn_1", "00"),
        "stn_12": ("stn_12", "02"),
    }
    assert find_site("a%20b", sites, "cards/a%20b.html") == ("a b", "00")


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("a b", "In file names this site is called a%20b."),
        ("stm_12", "Did you mean stn_12 or stn_1?"),
        (
            "?!",
            "The sites are listed in sites.parquet, rows without a usable place in rejected.csv.",
        ),
    ],
)
def test_unknown_site_is_told_with_what_was_meant(sites, name, step):
    with pytest.raises(TableError) as told:
        find_site(name, sites, f"cards/{name}.html")
    assert str(told.value) == (
        f"cards/{name}.html: found {name!r}, which is no site; expected the file name of one of "
        f"3 sites. {step}"
    )
