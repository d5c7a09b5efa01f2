"""Time: what a shard's jobs will take, before they run, for those who put jobs together.

The seconds were measured in one thread of a process that had its kernels compiled, on three DEMs:
the demo (3 arc-seconds, 57 sites, one layer), the Station Fire (30 m, 120 random sites), and a fire
in Colorado (10 m, 60 random sites). Of all shards together, the estimate was 0.8 to 1.5 times the
seconds that they took. A site that goes up by several levels takes longer than is expected here.
"""

from __future__ import annotations

import math

DELINEATION_SITE_S = 0.004
"""For each site: its outlet, its catchment, and the outline of that."""
PATCH_CELL_S = 2e-7
"""For each cell of the patches at which sites start: reading and routing, also of larger patches
that some of them need."""
PYSHEDS_SITE_S, PYSHEDS_CELL_S = 0.4, 2e-6
"""With `recipe`: for each site, and for each cell that is read for its window, rounded up."""
FEATURES_SITE_S = 0.001
"""For each site whose features are extracted."""
LAYER_SITE_S = 0.004
"""For each layer of each of them."""
CATCHMENT_CELL_S = 2e-7
"""For each cell of a catchment, of the terrain and of each layer."""


def delineation_s(sites: int, patch_cells: int) -> int:
    """Estimate what a job that delineates takes, in whole seconds, 1 at least.

    Parameters
    ----------
    sites : int
        Number of its sites.
    patch_cells : int
        Cells of all patches at which they start.
    """
    return _whole(sites * DELINEATION_SITE_S + patch_cells * PATCH_CELL_S)


def recipe_s(sites: int, window_cells: int) -> int:
    """Estimate what a job that delineates with a recipe takes, in whole seconds, 1 at least.

    Parameters
    ----------
    sites : int
        Number of its sites.
    window_cells : int
        Cells that are read for all of their windows.
    """
    return _whole(sites * PYSHEDS_SITE_S + window_cells * PYSHEDS_CELL_S)


def features_s(sites: int, catchment_cells: int, layers: int) -> int:
    """Estimate what a job that extracts features takes, in whole seconds, 1 at least.

    Parameters
    ----------
    sites : int
        Number of its sites.
    catchment_cells : int
        Cells of all their catchments.
    layers : int
        Number of layers.
    """
    a_site, a_cell = FEATURES_SITE_S + layers * LAYER_SITE_S, (1 + layers) * CATCHMENT_CELL_S
    return _whole(sites * a_site + catchment_cells * a_cell)


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))
