"""Patches, shards, outlets, and catchments."""
