"""Room for lists in kernels whose length nobody knows beforehand."""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled


@compiled
def grown(array, size=0):
    """Copy an array into one of twice its length, or of `size` if that is more."""
    larger = np.empty(max(size, 2 * array.size), array.dtype)
    # Element by element: Numba takes two seconds to compile the assignment of a slice.
    for k in range(array.size):
        larger[k] = array[k]
    return larger
