"""The published models, by name: every module of `snakeshed.models.published` brings its own.

This is read at every start of Snakemake: it imports nothing heavy.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

# The package itself: whatever depends on this module depends on every module in it.
import snakeshed.models.published
from snakeshed.models.model import Model


@cache
def published_models() -> dict[str, Model]:
    """Return all models by their names, sorted.

    Raises
    ------
    ValueError
        Two models have the same name.
    """
    published = snakeshed.models.published
    found: dict[str, Model] = {}
    for file in sorted(pkgutil.iter_modules(published.__path__), key=lambda each: each.name):
        module = importlib.import_module(f"{published.__name__}.{file.name}")
        for model in module.MODELS:
            if model.name in found:
                raise ValueError(f"{file.name}: another model is called {model.name}")
            found[model.name] = model
    return dict(sorted(found.items()))
