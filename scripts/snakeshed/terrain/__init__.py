"""The DEM: an index of its files, and elevations read from them."""
