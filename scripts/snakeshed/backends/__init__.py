"""Where the patches of a shard run: in this process, in others, or on Dask."""
