"""Published models, one file per publication; each file lists its models as ``MODELS``."""
