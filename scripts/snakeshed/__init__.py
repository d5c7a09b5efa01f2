"""snakeshed: from a table of sites to a table of catchments and features.

>>> from snakeshed import Grid  # the accelerated pysheds, usable by itself
"""

__version__ = "0.1.0"
__all__ = ["Grid", "Raster", "ViewFinder", "__version__"]


def __getattr__(name: str) -> object:
    # Not imported before it is asked for: pysheds alone takes longer to import than many a
    # command of this package takes to run.
    if name in __all__:
        from snakeshed.grid import grid

        return getattr(grid, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
