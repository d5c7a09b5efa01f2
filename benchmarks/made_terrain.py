"""Seeded terrain for benchmarks and tests: fractal relief, carved by rivers, with survey noise.

Real DEMs have what makes conditioning costly: dendritic valleys, thousands of small spurious pits,
and slopes that decide nearly every cell at once. Fractal noise alone has far too many and too deep
depressions; so rivers erode it by the stream-power law until most of it drains, and smoothed noise
puts the small pits back. DEMs in whole metres have lakes and terraces instead.

The same size and seed give the same terrain on every run of one machine; another CPU may differ in
the last bits, through the Fourier transform. 10,000 x 10,000 cells take 2 GB and some minutes.
"""

from __future__ import annotations

import numpy as np
import scipy.fft

from snakeshed.kernels.accumulation import count_upslope
from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import OUTSIDE, index_type, neighbour_offsets
from snakeshed.kernels.filling import fill

CELL_M = 10.0
RELIEF_M = 1500.0
LOWEST_M = 200.0
SPECTRAL_SLOPE = 2.2
ERODIBILITY = 0.15
EROSION_STEPS = 25
DIFFUSIVITY = 0.15
NOISE_M = 0.25
DROWNED_SHARE = 0.1
STEP_M = 20


def fractal(size: int, seed: int) -> np.ndarray:
    """Relief with a power-law spectrum, on a plane that dips to the south-east.

    A third of its cells lie in depressions, some of which are as deep as its mountains are high.

    Parameters
    ----------
    size : int
        Rows and columns.
    seed : int
        Of the random phases.

    Returns
    -------
    ndarray of float32, shape (size, size)
        Elevations in metres, from 200 m up.
    """
    # The transform is periodic: a margin that is cut off keeps opposite rims from matching.
    period = scipy.fft.next_fast_len(size + size // 8 + 2, real=True)
    rng = np.random.default_rng(seed)
    spectrum = np.empty((period, period // 2 + 1), np.complex64)
    spectrum.real = rng.standard_normal(spectrum.shape, dtype=np.float32)
    spectrum.imag = rng.standard_normal(spectrum.shape, dtype=np.float32)
    across = np.fft.rfftfreq(period) ** 2
    for row, along in zip(spectrum, np.fft.fftfreq(period) ** 2, strict=True):
        square = across + along
        square[square == 0] = np.inf
        row *= (square ** (-(SPECTRAL_SLOPE + 1) / 4)).astype(np.float32)
    z = scipy.fft.irfft2(spectrum, s=(period, period), overwrite_x=True)[:size, :size].copy()
    del spectrum
    _stretch(z, 0.0, 0.5)
    down = np.linspace(1.0, 0.0, size, dtype=np.float32)
    z += np.float32(0.3) * down[:, None]
    z += np.float32(0.2) * down
    _stretch(z, LOWEST_M, RELIEF_M)
    return z


def eroded(size: int, seed: int, threads: int = 1) -> np.ndarray:
    """Terrain of the kind that DEMs of mountains show.

    Parameters
    ----------
    size : int
        Rows and columns.
    seed : int
        Of the random relief and noise.
    threads : int
        For the routing; the terrain does not depend on it.

    Returns
    -------
    ndarray of float32, shape (size, size)
        Elevations in metres, on square cells of 10 m.
    """
    z, border = pad(fractal(size, seed))
    cell_m = np.full(len(z), CELL_M)
    offsets = neighbour_offsets(z.shape[1])
    land = z[1:-1, 1:-1]
    for _ in range(EROSION_STEPS):
        z, directions = fill(z, border, cell_m, cell_m, threads, out=z)
        counts = count_upslope(directions, threads)
        order = np.empty(z.size, index_type(z.size))
        _erode(z, directions, counts, offsets, order)
        del directions, counts, order
        _diffuse(land, np.float32(DIFFUSIVITY))
        _diffuse(land, np.float32(DIFFUSIVITY))
    _stretch(land, LOWEST_M, RELIEF_M)
    noise = np.random.default_rng(seed + 1).standard_normal(land.shape, dtype=np.float32)
    _diffuse(noise, np.float32(0.2))
    _diffuse(noise, np.float32(0.2))
    noise *= np.float32(NOISE_M / noise.std(dtype=np.float64))
    return land + noise


def integer_flats(size: int, seed: int, threads: int = 1) -> np.ndarray:
    """Eroded terrain in coarse steps, the lowest of it drowned: half of it has no lower neighbour.

    Parameters
    ----------
    size, seed, threads
        As in `eroded`.

    Returns
    -------
    ndarray of int16, shape (size, size)
        Elevations in metres, multiples of 20.
    """
    z = eroded(size, seed, threads)
    np.maximum(z, np.quantile(z[::7, ::7], DROWNED_SHARE), out=z)
    z /= np.float32(STEP_M)
    np.rint(z, out=z)
    z *= np.float32(STEP_M)
    return z.astype(np.int16)


KINDS = {"eroded": eroded, "fractal": fractal, "integer_flats": integer_flats}


def pad(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put the ring around an array that the kernels want, and let its rim drain outside.

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (h, w)
        Elevations.

    Returns
    -------
    padded : ndarray, shape (h + 2, w + 2)
        `z` in a ring of NaN.
    border : ndarray of uint8, shape (h + 2, w + 2)
        1 on the rim of the data.
    """
    padded = np.full((z.shape[0] + 2, z.shape[1] + 2), np.nan, z.dtype)
    padded[1:-1, 1:-1] = z
    border = np.zeros(padded.shape, dtype=np.uint8)
    border[1:-1, 1:-1] = 1
    border[2:-2, 2:-2] = 0
    return padded, border


def _stretch(z: np.ndarray, lowest: float, relief: float) -> None:
    """Shift and scale elevations in place."""
    least, most = float(z.min()), float(z.max())
    z -= np.float32(least)
    z *= np.float32(relief / (most - least))
    z += np.float32(lowest)


@compiled
def _erode(z, directions, counts, offsets, order):
    """One implicit step of the stream-power law, downstream cells first.

    Braun, J., and S. D. Willett (2013), A very efficient O(n), implicit and parallel method to
    solve the stream power equation. Geomorphology 180-181, 170-179.
    """
    level = z.reshape(z.size)
    codes = directions.reshape(z.size)
    count = counts.reshape(z.size)
    end = 0
    for cell in range(z.size):
        if codes[cell] == OUTSIDE:
            order[end] = cell
            end += 1
    for place in range(z.size):
        if place == end:
            break
        cell = np.int64(order[place])
        for k in range(1, 9):
            donor = cell + offsets[k]
            if codes[donor] == ((k + 3) & 7) + 1:
                distance = CELL_M * (1.0 if k % 2 == 1 else np.sqrt(2.0))
                pull = ERODIBILITY * np.sqrt(count[donor] * CELL_M * CELL_M) / distance
                level[donor] = (level[donor] + pull * level[cell]) / (1.0 + pull)
                order[end] = donor
                end += 1


@compiled
def _diffuse(z, share):
    """One explicit step of hillslope diffusion, in place; the rim stays."""
    rows, columns = z.shape
    above = z[0].copy()
    here = z[0].copy()
    for i in range(1, rows - 1):
        here[:] = z[i]
        for j in range(1, columns - 1):
            bend = above[j] + z[i + 1, j] + here[j - 1] + here[j + 1] - 4 * here[j]
            z[i, j] = here[j] + share * bend
        above, here = here, above
