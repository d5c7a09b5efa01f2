"""Routing of windows too large for one array, tile by tile."""
