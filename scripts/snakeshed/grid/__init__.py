"""The accelerated pysheds; it is usable by itself and knows nothing of the workflow."""
