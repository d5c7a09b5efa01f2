"""The graph of basins: which touch, over which saddles, and at which levels they spill."""

from __future__ import annotations

import numpy as np

from snakeshed.kernels.compiled import compiled
from snakeshed.kernels.d8 import FLAT, NODATA, OUTSIDE, index_type, neighbour_offsets
from snakeshed.kernels.flats import next_flat
from snakeshed.kernels.growing_lists import grown
from snakeshed.kernels.row_bands import in_bands, split

NO_BASIN = -3
# Rows that stay in the cache while their cells are labelled.
ROWS_AT_ONCE = 32


def label_basins(directions: np.ndarray, threads: int = 1) -> tuple[np.ndarray, int]:
    """Tell for each cell the pit in which its water stays.

    A pit is a connected set of cells without a lower neighbour, from which no flat leads on.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes with the flats resolved, so that what is still `FLAT` is a pit. Two pits never
        touch, as the higher one would have a lower neighbour.
    threads : int

    Returns
    -------
    labels : ndarray of int32 or int64, shape (h + 2, w + 2)
        Number of each cell's basin, from 1 on in the order of the first cells of the pits; 0 where
        the water gets outside; negative at nodata and in the ring.
    basins : int
    """
    labels, basins = label_pits(directions)
    label_upslope(directions, labels, basins, threads)
    return labels, basins


def label_pits(directions: np.ndarray) -> tuple[np.ndarray, int]:
    """Label the pits alone.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)

    Returns
    -------
    labels : ndarray of int32 or int64, shape (h + 2, w + 2)
        0 but in pits.
    pits : int
    """
    # The type that numbers the basins also numbers the edges between them: at most nine a cell.
    labels = np.zeros(directions.shape, dtype=index_type(9 * directions.size))
    return labels, _number_pits(directions, neighbour_offsets(directions.shape[1]), labels)


def label_upslope(
    directions: np.ndarray, labels: np.ndarray, largest: int, threads: int = 1
) -> None:
    """Give each cell the label of what its water comes to.

    Linear: some rows at a time, from those cells that nothing in these rows drains to down, and
    back up. What leaves the rows gets a number of its own, until all rows are done.

    Parameters
    ----------
    directions : ndarray of uint8, shape (h + 2, w + 2)
        D8 codes.
    labels : ndarray of int32 or int64, shape (h + 2, w + 2)
        Labels from 1 on, of all pits at least, and of others whose label is known; else 0. Changed
        in place: what drains outside keeps 0, nodata and the ring get `NO_BASIN`.
    largest : int
        The largest label.
    threads : int
    """
    rows, columns = directions.shape
    offsets = neighbour_offsets(columns)
    labels[[0, -1]] = NO_BASIN
    bands = split(1, rows - 1, threads)
    # Each band has numbers for all that could leave its rows.
    pieces = [-(-(end - first) // ROWS_AT_ONCE) for first, end in bands]
    starts = [largest + 1 + 2 * columns * sum(pieces[:band]) for band in range(len(bands) + 1)]
    band_starts = dict(zip(bands, starts, strict=False))
    parts = in_bands(
        lambda first, end: _label_rows(
            directions, offsets, first, end, ROWS_AT_ONCE, band_starts[first, end], labels
        ),
        bands,
    )
    final = np.zeros(starts[-1], labels.dtype)
    final[: largest + 1] = np.arange(largest + 1)
    for start, leads_to in zip(starts, parts, strict=False):
        final[start : start + leads_to.size] = labels.reshape(-1)[leads_to]
    _follow(final, largest)
    in_bands(lambda first, end: _relabel_rows(labels, final, first, end), bands)


@compiled
def _number_pits(directions, offsets, labels):
    """Number the pits, connected plateaus without a lower neighbor, from 1; return how many."""
    codes = directions.reshape(directions.size)
    label_of = labels.reshape(directions.size)
    eights = codes[: codes.size // 8 * 8].view(np.uint64)
    pit = np.empty(1024, np.int64)
    pits = 0
    first = next_flat(codes, eights, 0, codes.size)
    while first < codes.size:
        if label_of[first] == 0:
            pits += 1
            label_of[first] = pits
            pit[0] = first
            size = 1
            scanned = 0
            while scanned < size:
                cell = pit[scanned]
                scanned += 1
                if size + 8 > pit.size:
                    pit = grown(pit, size + 8)
                for k in range(1, 9):
                    neighbour = cell + offsets[k]
                    if codes[neighbour] == FLAT and label_of[neighbour] == 0:
                        label_of[neighbour] = pits
                        pit[size] = neighbour
                        size += 1
        first = next_flat(codes, eights, first + 1, codes.size)
    return pits


# The state of a cell is one byte: its code, plus 16 times the donors that it still waits for. A
# cell whose label is known has the code `FLAT`.
ONE_DONOR = np.uint8(16)


@compiled(nogil=True)
def _label_rows(directions, offsets, first, end, rows_at_once, number, labels):
    """Label the cells of a band of rows; return what those lead to that have numbers of their own.

    A cell whose path leaves the rows that are labelled at once has the next number, from `number`
    on. The loops have no branch that depends on the terrain: a processor that guesses how long a
    path is guesses wrong once for each path. Where water goes is read from `directions`, which the
    loops do not write to: reads of `states` wait for the writes before.
    """
    columns = directions.shape[1]
    code_of = directions.reshape(directions.size)
    label_of = labels.reshape(labels.size)
    states = np.full((rows_at_once, columns), FLAT, np.uint8)
    state_of = states.reshape(states.size)
    order = np.empty(rows_at_once * columns + 1, np.uint32)
    leads_to = np.empty(2 * columns * ((end - first) // rows_at_once + 1), np.int64)
    count = 0
    nothing = np.full(columns, NODATA, np.uint8)
    for start in range(first, end, rows_at_once):
        after = min(start + rows_at_once, end)
        for i in range(start, after):
            _wait_in_row(
                directions[i - 1] if i > start else nothing,
                directions[i],
                directions[i + 1] if i + 1 < after else nothing,
                labels[i],
                states[i - start],
            )
        for i, outward in ((start, (1, 2, 8)), (after - 1, (4, 5, 6))):
            for j in range(1, columns - 1):
                code = directions[i, j]
                leaves = code == outward[0] or code == outward[1] or code == outward[2]
                if leaves and labels[i, j] == 0:
                    leads_to[count] = i * columns + j + offsets[code]
                    labels[i, j] = number + count
                    states[i - start, j] |= np.uint8(15)
                    count += 1
        # Indices are unsigned here and below, as those take no test for being negative.
        size = np.uint64(0)
        for cell in range(np.uint64((after - start) * columns)):
            order[size] = cell
            size += np.uint64((state_of[cell] > OUTSIDE) & (state_of[cell] < FLAT))
        # Downstream: a cell comes after all that drain to it.
        before = start * columns
        done = np.uint64(0)
        while done < size:
            cell = np.int64(order[done])
            done += np.uint64(1)
            to = np.uint64(cell + offsets[code_of[np.uint64(before + cell)]])
            state = np.uint8(state_of[to] - ONE_DONOR)
            state_of[to] = state
            order[size] = to
            size += np.uint64((state > OUTSIDE) & (state < FLAT))
        # Upstream: what a cell drains to is labelled before it.
        while done > 0:
            done -= np.uint64(1)
            cell = np.uint64(before + np.int64(order[done]))
            label_of[cell] = label_of[np.uint64(np.int64(cell) + offsets[code_of[cell]])]
    return leads_to[:count].copy()


@compiled(nogil=True)
def _wait_in_row(above, here, below, label, state):
    """Write the first states of a row, and the labels of nodata in it."""
    for j in range(1, here.size - 1):
        donors = (
            np.uint8(above[j] == 5)
            + np.uint8(above[j + 1] == 6)
            + np.uint8(here[j + 1] == 7)
            + np.uint8(below[j + 1] == 8)
            + np.uint8(below[j] == 1)
            + np.uint8(below[j - 1] == 2)
            + np.uint8(here[j - 1] == 3)
            + np.uint8(above[j - 1] == 4)
        )
        code = here[j] if label[j] == 0 else np.uint8(FLAT)
        state[j] = donors * ONE_DONOR + min(code, np.uint8(FLAT))
    for j in range(here.size):
        label[j] = label[j] if here[j] != NODATA else NO_BASIN


@compiled
def _follow(final, largest):
    """Make numbers of what leaves some rows into the labels that they lead to."""
    for number in range(largest + 1, final.size):
        label = final[number]
        while label > largest:
            label = final[label]
        along = number
        while along > largest:
            onward = final[along]
            final[along] = label
            along = onward


@compiled(nogil=True)
def _relabel_rows(labels, final, first, end):
    for i in range(first, end):
        label = labels[i]
        for j in range(1, label.size - 1):
            if label[j] > 0:
                label[j] = final[label[j]]


def saddles(
    z: np.ndarray, border: np.ndarray, labels: np.ndarray, threads: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Edges of the basin graph: saddles between touching basins, and ways to the outside.

    A saddle has the level of the higher of its two cells. Its place, by which equal levels are
    ordered, is the flat index of the first of them times 8 plus the direction to the other; a way
    outside has direction 0. All edges of the graph's minimum spanning tree are there. Others, and
    several of one pair of basins, may be.

    Most pairs of cells cannot be in the tree, and need no look at their labels. The lower
    neighbours of a cell form arcs around it, and water passes from neighbour to neighbour in an arc
    below the level of the cell. The cell drains into one of its arcs. So only those with another
    arc join basins that are not joined below their level, as a pass of the relief does, and one
    pair of cells for each arc suffices.

    Parameters
    ----------
    z : ndarray of float32 or float64, shape (h + 2, w + 2)
    border : ndarray of uint8, shape (h + 2, w + 2)
    labels : ndarray of int32 or int64, shape (h + 2, w + 2)
        Number of each cell's basin; 0 where it drains outside by itself, negative at nodata. A cell
        with a lower neighbour drains to a lower neighbour, or into the ring.
    threads : int

    Returns
    -------
    first, second : ndarray of the type of the labels, shape (edges,)
        Numbers of the basins, the larger first; the outside is basin 0.
    level : ndarray of the type of `z`, shape (edges,)
    saddle : ndarray of int64, shape (edges,)
    """
    offsets = np.array(ROW_STEPS) * z.shape[1] + np.array(COLUMN_STEPS)
    parts = in_bands(
        lambda first, end: _saddles_of_rows(z, border, labels, offsets.view(np.uint64), first, end),
        split(1, z.shape[0] - 1, threads),
    )
    return parts[0] if len(parts) == 1 else tuple(map(np.concatenate, zip(*parts, strict=True)))


# The neighbours of a cell in the order of the places of their saddles: NW, N, NE, W, E, SE, S, SW.
# For each the direction of the pair, from the first of the two cells to the other.
PAIR_CODES = (4, 5, 6, 3, 3, 4, 5, 6)
ROW_STEPS = (-1, -1, -1, 0, 0, 1, 1, 1)
COLUMN_STEPS = (-1, 0, 1, -1, 1, 1, 0, -1)
FIRST_AFTER = 4
NEIGHBOURS = 8
# Edges that were found of late are remembered, so that most pairs of basins get only one.
REMEMBERED = 4096  # a power of 2


def _arcs() -> np.ndarray:
    """For each set of neighbours, as bits in that order: the arc that its first one belongs to."""
    arcs = np.zeros(256, np.uint8)
    steps = list(zip(ROW_STEPS, COLUMN_STEPS, strict=True))
    for chosen in range(1, 256):
        left = [steps[k] for k in range(NEIGHBOURS) if chosen >> k & 1]
        arc = [left.pop(0)]
        for row, column in arc:
            beside = [one for one in left if max(abs(one[0] - row), abs(one[1] - column)) == 1]
            arc += beside
            left = [one for one in left if one not in beside]
        arcs[chosen] = sum(1 << steps.index(one) for one in arc)
    return arcs


ARCS = _arcs()


@compiled(nogil=True)
def _saddles_of_rows(z, border, labels, offsets, start, stop):
    rows, columns = z.shape
    level_at = z.reshape(z.size)
    border_at = border.reshape(z.size)
    label_of = labels.reshape(z.size)
    first = np.empty(1024, labels.dtype)
    second = np.empty(1024, labels.dtype)
    level = np.empty(1024, z.dtype)
    saddle = np.empty(1024, np.int64)
    first[0] = -1
    second[0] = -1
    latest = np.zeros(REMEMBERED, np.int64)
    lower = np.zeros(columns, np.uint8)
    looked_at = np.zeros(columns, np.uint8)
    found = np.empty(columns, np.int64)
    edges = 0
    for i in range(start, stop):
        _look_for_arcs(
            z[i - 1], z[i], z[i + 1], border[i], labels[i], labels[i + 1], lower, looked_at
        )
        # What drains into the ring has no arc there.
        if i == 1 or i == rows - 2:
            looked_at[1 : columns - 1] = 1
        looked_at[1] = looked_at[columns - 2] = 1
        count = np.uint64(0)
        for j in range(1, columns - 1):
            found[count] = j
            count += np.uint64(looked_at[j])
        room = edges + 9 * np.int64(count)
        if room > first.size:
            first = grown(first, room)
            second = grown(second, room)
            level = grown(level, room)
            saddle = grown(saddle, room)
        for j in found[:count]:
            cell = np.uint64(i * columns + j)
            here = label_of[cell]
            if here < 0:
                continue
            height = level_at[cell]
            place = np.int64(cell) * 8
            if border_at[cell] != 0 and here != 0:
                first[edges] = here
                second[edges] = 0
                level[edges] = height
                saddle[edges] = place
                edges += 1
            waiting = np.int64(lower[j])
            while waiting != 0:
                arc = np.int64(ARCS[waiting])
                waiting &= ~arc
                k = _first_across(label_of, offsets, cell, arc)
                if k < NEIGHBOURS:
                    beside = cell + offsets[k]
                    at = 8 * np.int64(min(cell, beside)) + PAIR_CODES[k]
                    edges = _note(
                        first,
                        second,
                        level,
                        saddle,
                        latest,
                        edges,
                        here,
                        label_of[beside],
                        height,
                        at,
                    )
            for k in range(FIRST_AFTER, NEIGHBOURS):
                beside = cell + offsets[k]
                there = label_of[beside]
                if level_at[beside] == height and there != here and there >= 0:
                    at = place + PAIR_CODES[k]
                    edges = _note(
                        first, second, level, saddle, latest, edges, here, there, height, at
                    )
    return first[:edges].copy(), second[:edges].copy(), level[:edges].copy(), saddle[:edges].copy()


@compiled(nogil=True)
def _look_for_arcs(above, here, below, border, label, label_below, lower, looked_at):
    """Find the lower neighbours of each cell of a row, as bits, and the cells to be looked at.

    Those are the cells with two arcs, at the border, and level with a neighbour in another basin.
    """
    for j in range(1, here.size - 1):
        level = here[j]
        nw = above[j - 1] < level
        n = above[j] < level
        ne = above[j + 1] < level
        w = here[j - 1] < level
        e = here[j + 1] < level
        se = below[j + 1] < level
        s = below[j] < level
        sw = below[j - 1] < level
        lower[j] = (
            np.uint8(nw)
            | np.uint8(n) << 1
            | np.uint8(ne) << 2
            | np.uint8(w) << 3
            | np.uint8(e) << 4
            | np.uint8(se) << 5
            | np.uint8(s) << 6
            | np.uint8(sw) << 7
        )
        # An arc that holds N, E, S or W ends after one of them; others are a single corner.
        n_ends = n & (not e)
        e_ends = e & (not s)
        s_ends = s & (not w)
        w_ends = w & (not n)
        some = n_ends | e_ends | s_ends | w_ends
        ne_alone = ne & (not n) & (not e)
        se_alone = se & (not s) & (not e)
        sw_alone = sw & (not s) & (not w)
        nw_alone = nw & (not n) & (not w)
        two = (
            (n_ends & s_ends)
            | (e_ends & w_ends)
            | (some & (ne_alone | se_alone | sw_alone | nw_alone))
            | (ne_alone & (se_alone | sw_alone | nw_alone))
            | (se_alone & (sw_alone | nw_alone))
            | (sw_alone & nw_alone)
        )
        basin = label[j]
        level_across = (
            ((here[j + 1] == level) & (label[j + 1] != basin))
            | ((below[j + 1] == level) & (label_below[j + 1] != basin))
            | ((below[j] == level) & (label_below[j] != basin))
            | ((below[j - 1] == level) & (label_below[j - 1] != basin))
        )
        looked_at[j] = two | level_across | (border[j] != 0)


@compiled(nogil=True)
def _first_across(label_of, offsets, cell, arc):
    """First neighbour of an arc in another basin; `NEIGHBOURS` if the cell's own reaches it."""
    found = NEIGHBOURS
    k = 0
    while arc != 0:
        if arc & 1:
            there = label_of[cell + offsets[k]]
            if there == label_of[cell]:
                return NEIGHBOURS
            if found == NEIGHBOURS and there >= 0:
                found = k
        arc >>= 1
        k += 1
    return found


@compiled(nogil=True)
def _note(first, second, level, saddle, latest, edges, here, there, height, place):
    """Note an edge, or lower the one that is remembered of these basins; return how many."""
    low = min(here, there)
    high = max(here, there)
    spot = np.uint64((31 * np.int64(high) + low) & (REMEMBERED - 1))
    known = np.uint64(latest[spot])
    if first[known] != high or second[known] != low:
        latest[spot] = edges
        first[edges] = high
        second[edges] = low
        level[edges] = height
        saddle[edges] = place
        return edges + 1
    if height < level[known] or (height == level[known] and place < saddle[known]):
        level[known] = height
        saddle[known] = place
    return edges


@compiled(nogil=True)
def spanning_tree(basins, first, second, level, saddle):
    """Boruvka's minimum spanning tree: the indices of its edges.

    Edges are compared by (level, saddle), so that no two are equal and the tree is unique.
    """
    kind = first.dtype
    tree = np.empty(basins, kind)
    size = 0
    # Components are named by one of their basins; each basin has the one that it is joined to.
    joined = np.arange(basins + 1).astype(kind)
    components = joined.copy()
    count = basins + 1
    lowest = np.empty(basins + 1, kind)
    lowest_level = np.empty(basins + 1, level.dtype)
    # The edges between different components: their index, the components, and the level.
    alive = np.arange(first.size).astype(kind)
    one = first.copy()
    other = second.copy()
    height = level.copy()
    remaining = alive.size
    # Indices are unsigned, as those take no test for being negative.
    while remaining > 0:
        for component in components[:count]:
            lowest[np.uint64(component)] = -1
        for e in range(remaining):
            for component in (np.uint64(one[e]), np.uint64(other[e])):
                rival = lowest[component]
                if (
                    rival < 0
                    or height[e] < lowest_level[component]
                    or (
                        height[e] == lowest_level[component]
                        and saddle[alive[e]] < saddle[alive[rival]]
                    )
                ):
                    lowest[component] = e
                    lowest_level[component] = height[e]
        for component in components[:count]:
            edge = lowest[np.uint64(component)]
            if edge >= 0:
                across = other[edge] if one[edge] == component else one[edge]
                # Of two that chose the same edge, one stays.
                if lowest[np.uint64(across)] != edge or across < component:
                    joined[np.uint64(component)] = across
                    tree[size] = alive[edge]
                    size += 1
        kept = 0
        for component in components[:count]:
            top = component
            while joined[np.uint64(top)] != top:
                top = joined[np.uint64(top)]
            along = component
            while along != top:
                onward = joined[np.uint64(along)]
                joined[np.uint64(along)] = top
                along = onward
            if component == top:
                components[kept] = top
                kept += 1
        count = kept
        kept = 0
        for e in range(remaining):
            a = joined[np.uint64(one[e])]
            b = joined[np.uint64(other[e])]
            alive[kept] = alive[e]
            one[kept] = a
            other[kept] = b
            height[kept] = height[e]
            kept += a != b
        remaining = kept
    return tree[:size]


@compiled(nogil=True)
def ways_outside(basins, first, second, tree):
    """Edge of a spanning tree by which each basin is joined to basin 0.

    Leaf by leaf: the only edge that is left of a leaf leads towards the root. The exclusive or of
    the edges that are left of a node is that edge, without a list of the edges of each node.

    Returns: the basins, each before the one that it is joined to, and these edges. A piece of the
    graph without basin 0 has another root, which is left out.
    """
    degree = np.zeros(basins + 1, first.dtype)
    edges_left = np.zeros(basins + 1, first.dtype)
    for edge in tree:
        for basin in (np.uint64(first[edge]), np.uint64(second[edge])):
            degree[basin] += 1
            edges_left[basin] ^= edge
    order = np.empty(basins, first.dtype)
    ways = np.empty(basins, first.dtype)
    count = 0
    for start in range(1, basins + 1):
        leaf = np.uint64(start)
        while leaf != 0 and degree[leaf] == 1:
            edge = edges_left[leaf]
            order[count] = leaf
            ways[count] = edge
            count += 1
            degree[leaf] = 0
            one, other = np.uint64(first[np.uint64(edge)]), np.uint64(second[np.uint64(edge)])
            leaf = other if one == leaf else one
            degree[leaf] -= 1
            edges_left[leaf] ^= edge
    return order[:count], ways[:count]


@compiled(nogil=True)
def links_of_nodes(nodes, first, second, edges):
    """Edges at each node of a graph: those at node n are ``links[start[n] : start[n + 1]]``."""
    start = np.zeros(nodes + 1, np.int64)
    for edge in edges:
        start[first[edge] + 1] += 1
        start[second[edge] + 1] += 1
    for node in range(nodes):
        start[node + 1] += start[node]
    place = start[:-1].copy()
    links = np.empty(2 * edges.size, edges.dtype)
    for edge in edges:
        for node in (first[edge], second[edge]):
            links[place[node]] = edge
            place[node] += 1
    return start, links


def spill_levels(
    basins: int, first: np.ndarray, second: np.ndarray, level: np.ndarray, saddle: np.ndarray
) -> np.ndarray:
    """Level to which each basin fills before its water gets outside.

    Parameters
    ----------
    basins : int
        Nodes are numbered from 0, the outside, to this.
    first, second, level, saddle : ndarray, shape (edges,)
        As from `saddles`. The saddles only have to tell edges of one level apart: no level depends
        on their order.

    Returns
    -------
    ndarray of the type of `level`, shape (basins + 1,)

    Raises
    ------
    ValueError
        If a basin has no way outside.
    """
    levels, reached = _spill_levels(basins, first, second, level, saddle)
    if reached <= basins:
        raise ValueError(
            f"{basins + 1 - reached} basins have no way outside: "
            "every connected piece of the data needs a border cell"
        )
    return levels


@compiled(nogil=True)
def _spill_levels(basins, first, second, level, saddle):
    """Levels, and how many basins have a way outside.

    The levels are the largest ones on the way from basin 0 through the spanning tree: the minimax
    levels of the whole graph.
    """
    tree = spanning_tree(basins, first, second, level, saddle)
    order, ways = ways_outside(basins, first, second, tree)
    levels = np.full(basins + 1, -np.inf, level.dtype)
    reached = np.zeros(basins + 1, np.bool_)
    reached[0] = True
    for place in range(order.size - 1, -1, -1):
        basin = np.uint64(order[place])
        edge = np.uint64(ways[place])
        outward = np.uint64(second[edge] if np.uint64(first[edge]) == basin else first[edge])
        levels[basin] = max(levels[outward], level[edge])
        reached[basin] = reached[outward]
    return levels, reached.sum()
