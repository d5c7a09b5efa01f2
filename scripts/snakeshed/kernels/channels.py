"""Channels: the order of streams, and the reaches between their junctions.

A channel is a set of cells that water flows through. It need not be whole: where a channel cell
drains into a cell that is none, the water goes on unseen, and that cell ends the reach.
Both results are those of pysheds, in its order.

References
----------
Strahler, A. N. (1957), Quantitative analysis of watershed geomorphology. Transactions of the
American Geophysical Union 38, 913-920.
"""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import OUTSIDE, neighbour_offsets


def stream_order(directions: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Order of each stream: that of its donors, or one more where all of them are equal.

    O(cells): each channel cell is passed once. At a junction of two streams this is Strahler's
    order. Where three or more meet it is that of pysheds, which is one less than Strahler's if
    the highest order comes twice and a lower one once. A cell that channels end in counts, as in
    pysheds, as one more donor of theirs, so that its order is one more if they are equal.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, padded; cells in cycles have the order that their other donors give them.
    channels : ndarray of bool, shape (h + 2, w + 2)
        The channel cells, all of them data.

    Returns
    -------
    ndarray of uint8, shape (h + 2, w + 2)
        1 where a channel begins; 0 for a cell that is no channel and that no channel ends in.
    """
    order = channels.astype(np.uint8)
    _pass_order_down(
        directions.reshape(directions.size),
        channels.reshape(channels.size),
        neighbour_offsets(directions.shape[1]),
        order.reshape(order.size),
    )
    return order


def reaches(directions: np.ndarray, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells of each reach: from a head or a junction down to the next junction or to the end.

    O(cells). The reaches stand in the order in which pysheds finds them: by their first heads,
    row by row, each followed downstream as far as all other donors have been followed before.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes, padded. What drains into a cycle is found, the cycle is not.
    channels : ndarray of bool, shape (h + 2, w + 2)
        The channel cells, all of them data.

    Returns
    -------
    cells : ndarray of int64
        Flat indices; each reach from its upper end to its lower end, which is also the upper end
        of the next one.
    starts : ndarray of int64, shape (n + 1,)
        Reach i is ``cells[starts[i] : starts[i + 1]]``.
    """
    return _follow(
        directions.reshape(directions.size),
        channels.reshape(channels.size),
        neighbour_offsets(directions.shape[1]),
        np.int64(np.count_nonzero(channels)),
    )


@compiled
def _count_donors(codes, channels, offsets, donors):
    for cell in range(codes.size):
        if channels[cell] and codes[cell] != OUTSIDE:
            donors[cell + offsets[codes[cell]]] += 1


@compiled
def _pass_order_down(codes, channels, offsets, order):
    donors = np.zeros(codes.size, np.uint8)
    _count_donors(codes, channels, offsets, donors)
    waiting = donors.copy()
    lowest = np.full(codes.size, 255, np.uint8)
    highest = np.ones(codes.size, np.uint8)
    for head in range(codes.size):
        if not channels[head] or donors[head] != 0 or codes[head] == OUTSIDE:
            continue
        cell = head
        while True:
            passed = order[cell]
            cell += offsets[codes[cell]]
            lowest[cell] = min(lowest[cell], passed)
            highest[cell] = max(highest[cell], passed)
            waiting[cell] -= 1
            is_end = not channels[cell] or codes[cell] == OUTSIDE
            several = donors[cell] > 1 or is_end
            order[cell] = highest[cell] + np.uint8(several and lowest[cell] == highest[cell])
            if waiting[cell] != 0 or is_end:
                break


@compiled
def _follow(codes, channels, offsets, size):
    donors = np.zeros(codes.size, np.uint8)
    _count_donors(codes, channels, offsets, donors)
    waiting = donors.copy()
    # Each channel cell is left once, and each reach has one cell that the next one has too.
    cells = np.empty(2 * size, np.int64)
    starts = np.empty(size + 1, np.int64)
    starts[0] = 0
    end = 0
    number = 0
    for head in range(codes.size):
        if not channels[head] or donors[head] != 0 or codes[head] == OUTSIDE:
            continue
        cell = head
        cells[end] = head
        end += 1
        while True:
            cell += offsets[codes[cell]]
            cells[end] = cell
            end += 1
            waiting[cell] -= 1
            is_end = not channels[cell] or codes[cell] == OUTSIDE
            if donors[cell] > 1 or is_end:
                number += 1
                starts[number] = end
                if waiting[cell] != 0 or is_end:
                    break
                cells[end] = cell
                end += 1
    return cells[:end].copy(), starts[: number + 1].copy()
