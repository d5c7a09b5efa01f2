"""Numba kernels: plain arrays in and out, one file per algorithm.

All arrays are *padded*: a DEM of h x w cells has the shape (h + 2, w + 2), with a ring of one cell
around the data that no result ever describes, so that a kernel may look at the eight neighbours of
every data cell without asking where the array ends. A flat index counts the cells of the padded
array row by row.

No kernel calls a compiled function of another file: Numba stores compiled code beside each file
and compiles it anew when that file changes, but not when a file that it calls does.
"""
