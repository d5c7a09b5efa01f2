"""Seeded terrain for benchmarks and tests: fractal relief, carved by rivers, with survey noise.

Real DEMs have what makes conditioning costly: dendritic valleys, thousands of small spurious pits,
and slopes that decide nearly every cell at once. Fractal noise alone has far too many and too deep
depressions; so rivers erode it by the stream-power law until most of it drains, and smoothed noise
puts the small pits back.
"""

from __future__ import annotations

import numpy as np

from snakeshed.compiled import compiled
from snakeshed.kernels.accumulation import count_upslope
from snakeshed.kernels.conditioning import fill
from snakeshed.kernels.directions import OUTSIDE, neighbour_offsets

CELL_M = 10.0
RELIEF_M = 1500.0
SPECTRAL_SLOPE = 2.2
ERODIBILITY = 0.15
EROSION_STEPS = 25
DIFFUSIVITY = 0.15
NOISE_M = 0.25


def eroded(size: int, seed: int) -> np.ndarray:
    """Terrain of the kind that DEMs of mountains show.

    The same on every run of one machine; another CPU may differ in the last bits, through the
    Fourier transform.

    Parameters
    ----------
    size : int
        Rows and columns.
    seed : int
        Of the random relief and noise.

    Returns
    -------
    ndarray of float32, shape (size, size)
        Elevations in metres, on square cells of 10 m.
    """
    z = fractal(size, seed)
    for _ in range(EROSION_STEPS):
        padded, border = pad(z)
        cell_m = np.full(padded.shape[0], CELL_M)
        filled, directions = fill(padded, border, cell_m, cell_m)
        _erode(filled, directions, count_upslope(directions), neighbour_offsets(filled.shape[1]))
        z = _diffuse(_diffuse(filled[1:-1, 1:-1].copy(), DIFFUSIVITY), DIFFUSIVITY)
    z = (z - z.min()) * np.float32(RELIEF_M / (z.max() - z.min())) + np.float32(200.0)
    noise = np.random.default_rng(seed + 1).standard_normal(z.shape, dtype=np.float32)
    noise = _diffuse(_diffuse(noise, 0.2), 0.2)
    return z + noise * np.float32(NOISE_M / noise.std())


def fractal(size: int, seed: int) -> np.ndarray:
    """Relief with a power-law spectrum, on a plane that dips to the south-east.

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
    period = size + size // 8 + 2
    rng = np.random.default_rng(seed)
    shape = (period, period // 2 + 1)
    frequency = np.fft.fftfreq(period)[:, None] ** 2 + np.fft.rfftfreq(period)[None, :] ** 2
    frequency[0, 0] = np.inf
    spectrum = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * frequency ** (
        -(SPECTRAL_SLOPE + 1) / 4
    )
    z = np.fft.irfft2(spectrum, s=(period, period))[:size, :size]
    z = (z - z.min()) / (z.max() - z.min())
    down = np.linspace(1.0, 0.0, size)
    z = 0.5 * z + 0.3 * down[:, None] + 0.2 * down[None, :]
    return ((z - z.min()) * (RELIEF_M / (z.max() - z.min())) + 200.0).astype(np.float32)


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
    padded = np.pad(z, 1, constant_values=np.nan)
    border = np.zeros(padded.shape, dtype=np.uint8)
    border[1:-1, 1:-1] = 1
    border[2:-2, 2:-2] = 0
    return padded, border


@compiled
def _erode(z, directions, counts, offsets):
    """One implicit step of the stream-power law, downstream cells first.

    Braun, J., and S. D. Willett (2013), A very efficient O(n), implicit and parallel method to
    solve the stream power equation. Geomorphology 180-181, 170-179.
    """
    level = z.reshape(z.size)
    codes = directions.reshape(z.size)
    count = counts.reshape(z.size)
    order = np.empty(z.size, np.int64)
    end = 0
    for cell in range(z.size):
        if codes[cell] == OUTSIDE:
            order[end] = cell
            end += 1
    for place in range(z.size):
        if place == end:
            break
        cell = order[place]
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
    """One explicit step of hillslope diffusion; the rim stays."""
    smooth = z.copy()
    for i in range(1, z.shape[0] - 1):
        for j in range(1, z.shape[1] - 1):
            bend = z[i - 1, j] + z[i + 1, j] + z[i, j - 1] + z[i, j + 1] - 4 * z[i, j]
            smooth[i, j] = z[i, j] + share * bend
    return smooth
