"""Large files over HTTP, fetched into a cache that studies share.

requests does the transfer: proxies, certificates, and redirects are its business. It is there
anyway, since Snakemake needs it. pooch, fsspec, and Snakemake's HTTP storage fetch a file again
from its start when a connection breaks, which is costly for tiles of 400 MB. obstore is faster, but
has proxy and certificate settings of its own. benchmarks/README.md compares their speed.
"""
