"""Raster files: coordinate reference systems, lattices, headers, VRTs, and TIFFs."""
