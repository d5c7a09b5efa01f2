"""File names of sites: what a site's card and its row of features are called, and where it is.

Snakemake asks here while it plans: importing this imports nothing heavy.
"""

from __future__ import annotations

import difflib
import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from snakeshed.errors import TableError
from snakeshed.result_files import version_of
from snakeshed.tables.one_column import read_column

# File systems take 255 bytes; suffixes, and the names of half-written files, come on top.
_LONGEST_BYTES = 180
_PLAIN = "-_."


def site_file(site_id: str) -> str:
    """Name a site's files: its identifier, as far as that can be part of a file name.

    Letters and digits of all scripts stay, and ``-``, ``_`` and ``.`` behind the first sign; every
    other sign becomes its UTF-8 bytes as in an address (``%2F``). Of a long identifier the end is
    replaced by ``~`` and a digest. Different identifiers have different names, also those that
    only differ in how an accent is written.

    Parameters
    ----------
    site_id : str
        Not empty.

    Returns
    -------
    str
        Without a suffix; at most 180 bytes in UTF-8.
    """
    name = "".join(
        sign if _stays(sign, first=not position) else _escaped(sign)
        for position, sign in enumerate(site_id)
    )
    if len(name.encode()) <= _LONGEST_BYTES:
        return name
    tail = "~" + hashlib.blake2b(site_id.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    head = name.encode()[: _LONGEST_BYTES - len(tail)].decode(errors="ignore")
    return head + tail


def _stays(sign: str, first: bool) -> bool:
    if sign in _PLAIN:
        return not first
    # What another Unicode form would write otherwise could be changed by a file system.
    return sign.isalnum() and unicodedata.is_normalized("NFC", sign)


def _escaped(sign: str) -> str:
    return "".join(f"%{byte:02X}" for byte in sign.encode(errors="surrogatepass"))


def sites_in_shards(tables: Sequence[str | Path]) -> dict[str, tuple[str, str]]:
    """Find every site of a study and its shard.

    Parameters
    ----------
    tables : sequence of str or Path
        ``shards/<shard>/sites.parquet`` of all shards, each with the record of its bytes.

    Returns
    -------
    dict of str to (str, str)
        Of each site, by the name of its files, the identifier and the shard.
    """
    # Snakemake asks several times for each of perhaps hundreds of targets.
    return _read(tuple((str(table), version_of(table)) for table in tables))


@lru_cache(maxsize=1)
def _read(tables: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, tuple[str, str]]:
    found = {}
    for table, _ in tables:
        for site_id in read_column(table, "site_id").to_pylist():
            found[site_file(site_id)] = (site_id, Path(table).parent.name)
    return found


def find_site(name: str, sites: Mapping[str, tuple[str, str]], target: str) -> tuple[str, str]:
    """Return identifier and shard of the site that a target's file name means.

    Parameters
    ----------
    name : str
        As in the target, without a suffix.
    sites : mapping
        From `sites_in_shards`.
    target : str
        What the user asked for, for the message.

    Raises
    ------
    TableError
        No site's files have this name.
    """
    if name in sites:
        return sites[name]
    if (meant := site_file(name)) in sites:
        step = f"In file names this site is called {meant}."
    elif near := difflib.get_close_matches(name, sites, n=3, cutoff=0.5):
        step = f"Did you mean {' or '.join(near)}?"
    else:
        step = "The sites are listed in sites.parquet, rows without a usable place in rejected.csv."
    raise TableError(
        target, f"{name!r}, which is no site", f"the file name of one of {len(sites)} sites", step
    )
