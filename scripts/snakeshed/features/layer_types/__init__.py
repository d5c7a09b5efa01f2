"""Types of layers, one module each, named as ``layers[].type`` in the configuration.

A module has what `snakeshed.features.layer.LayerType` lists. The schema has its name and its keys.
"""
