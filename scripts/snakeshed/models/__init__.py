"""Hazard models: likelihood, volume, and class of a debris flow at a site in a storm."""
