"""Numba kernels: plain arrays in and out, one file per algorithm.

All arrays are *padded*: a DEM of h x w cells has the shape (h + 2, w + 2), with a ring of one cell
around the data that no result ever describes, so that a kernel may look at the eight neighbours of
every data cell without asking where the array ends. A flat index counts the cells of the padded
array row by row.

A kernel may use functions and constants of other kernel files. They are compiled into it, so
`snakeshed.kernels.compiled` compiles a kernel anew when any of the files that it imports changes.
"""
