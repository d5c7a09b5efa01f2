"""Tables of results: GeoParquet in and out, gathered, exported."""
