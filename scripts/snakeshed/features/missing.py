"""Cells of layers that hold no data, declared or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from snakeshed.errors import LayerError
from snakeshed.raster.nodata import nodata_numbers

if TYPE_CHECKING:
    import numpy as np

# Numbers that mean "no data" to the programs that write them, in a raster of any type.
_SENTINELS = (-9999.0, -32767.0, -32768.0, -99999.0, -999999.0)
# The ends of integer types, which also stand in rasters of floats that were made of integers.
_ENDS_AS_FLOATS = (32767.0, 65535.0, 2147483647.0, -2147483647.0, -2147483648.0, 4294967295.0)
# No quantity on Earth is larger; GDAL, NetCDF, and ArcGIS fill with 1e20, 9.97e36, and -3.4e38.
_LARGEST = 1e19


@dataclass(frozen=True)
class Missing:
    """Which cells of a layer count as missing, beside those that its file declares.

    Attributes
    ----------
    nodata : tuple of float
        Stored numbers.
    valid_range : tuple of float, or None
        Smallest and largest value that is data, after all scaling.
    max_share : float or None
        A catchment of which a larger share is missing has no values.
    """

    nodata: tuple[float, ...] = ()
    valid_range: tuple[float, float] | None = None
    max_share: float | None = None

    @classmethod
    def of(cls, declared: Mapping) -> Missing:
        """Read it from one entry of ``layers``; keys that are not there set nothing."""
        bounds = declared.get("valid_range")
        return cls(
            nodata=nodata_numbers(declared.get("nodata")),
            valid_range=None if bounds is None else (float(bounds[0]), float(bounds[1])),
            max_share=declared.get("max_missing"),
        )

    def allows(self, coverage: float) -> bool:
        """Tell whether a catchment with data in such a share of it has values."""
        return self.max_share is None or 1 - coverage <= self.max_share + 1e-9

    def excess(self, name: str, coverage: float) -> str:
        """Return why a catchment with too little data of a layer has no values."""
        return (
            f"layer {name} is missing in {1 - coverage:.3g} of the catchment, more than its "
            f"max_missing of {self.max_share:g}"
        )

    def drop(self, stored: np.ndarray, factor: float, shift: float) -> np.ndarray:
        """Tell which cells count as missing.

        Parameters
        ----------
        stored : ndarray of float32 or float64, shape (n,)
        factor, shift : float
            ``stored * factor + shift`` is the value in the layer's columns.

        Returns
        -------
        ndarray of bool, shape (n,)
        """
        import numpy as np

        # A nodata value is compared as the raster's type can hold it: -9999.01 in float32.
        missing = np.isnan(stored)
        for value in self.nodata:
            missing |= stored == stored.dtype.type(value)
        if self.valid_range is not None:
            low, high = self.valid_range
            # Limits are decimals, and stored numbers what their type makes of decimals.
            slack = 1e-6 if stored.dtype.itemsize == 4 else 1e-9
            low = low - slack * abs(low) if math.isfinite(low) else low
            high = high + slack * abs(high) if math.isfinite(high) else high
            values = stored.astype(np.float64) * factor + shift
            missing |= ~((values >= low) & (values <= high))
        return missing

    def undeclared(
        self,
        stored: np.ndarray,
        dtype: str,
        where: str,
        of: str = "cell",
        among: str = "cells",
    ) -> LayerError | None:
        """Return an error if cells that count as data hold what stands for missing data elsewhere.

        Parameters
        ----------
        stored : ndarray of float32 or float64, shape (n,)
            Cells that count as data.
        dtype : str
            Type of the numbers in the file.
        where : str
            How errors name the layer.
        of, among : str
            What has the values, in the error.
        """
        import numpy as np

        # What lies in a range that the user states is data.
        if self.valid_range is not None or not stored.size:
            return None
        low, high = float(stored.min()), float(stored.max())
        if wrong := [end for end in (low, high) if not math.isfinite(end)]:
            return LayerError(
                where,
                f"the {of} value {wrong[0]:g}",
                "finite numbers, and nodata where there are none",
                f"Declare it with gdal_edit.py -a_nodata {wrong[0]:g}, or set the layer's "
                "valid_range.",
            )
        suspects = [end for end in (low, high) if abs(end) >= _LARGEST]
        suspects += [value for value in _suspects(dtype) if low <= value <= high]
        for value in suspects:
            count = int(np.count_nonzero(stored == stored.dtype.type(value)))
            if count:
                written = shortest(stored.dtype.type(value))
                return LayerError(
                    where,
                    f"the {of} value {written} in {count:,} of {stored.size:,} {among}, which "
                    "often stands for missing data",
                    "data, and a declared nodata value where there are none",
                    f"Set the layer's nodata: {written} if these {among} are missing, or its "
                    "valid_range with the smallest and the largest value that is data.",
                )
        return None


NOTHING_MISSING = Missing()


def shortest(stored: np.floating) -> str:
    """Write a stored number with the fewest digits that name it: -0.1, also in float32."""
    return str(stored).removesuffix(".0")


def _suspects(dtype: str) -> tuple[float, ...]:
    """Return the numbers that stand for missing data in a raster of a type."""
    import numpy as np

    if not dtype.startswith(("int", "uint")):
        return _SENTINELS + _ENDS_AS_FLOATS
    ends = np.iinfo(dtype)
    if ends.min == 0:
        return (float(ends.max),)
    fitting = tuple(value for value in _SENTINELS if ends.min <= value)
    return tuple(dict.fromkeys((*fitting, float(ends.min), float(ends.max))))
