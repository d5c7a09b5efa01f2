"""snakeshed: from a table of sites to a table of catchments and features."""

__version__ = "0.1.0"
