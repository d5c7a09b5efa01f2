"""Delineation as Roten et al. (2022) did it, to reproduce that paper and for nothing else.

Each site by itself: a window is cut out of one tile of the DEM, reprojected to UTM with the nearest
neighbor, and routed with stock pysheds. Its known defects are part of it: catchments are cut where
the tile ends, elevations are those of the nearest cell, and the outline is the largest part of a
contour plot.
"""
