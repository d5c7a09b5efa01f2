"""Kernels of single tiles, for windows too large for one array."""
