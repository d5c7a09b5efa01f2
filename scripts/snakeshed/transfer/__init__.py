"""Large files over HTTP, fetched into a cache that studies share."""
