"""The files that a site table is read from.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

import os

# A shapefile is three files or more; indices (.sbn, .sbx, .qix) hold nothing of their own.
_OF_A_SHAPEFILE = (".dbf", ".shx", ".prj", ".cpg")


def table_files(path: str) -> list[str]:
    """List a site table and, of a shapefile, the other files that it is made of.

    Parameters
    ----------
    path : str
        The table.

    Returns
    -------
    list of str
        The table first, then those beside it that are there, sorted.
    """
    stem, suffix = os.path.splitext(path)
    if suffix.lower() != ".shp":
        return [path]
    folder, name = os.path.split(stem)
    try:
        there = os.listdir(folder or ".")
    except OSError:
        return [path]
    wanted = {f"{name}{end}".lower() for end in _OF_A_SHAPEFILE}
    beside = sorted(each for each in there if each.lower() in wanted)
    return [path, *(os.path.join(folder, each) for each in beside)]
