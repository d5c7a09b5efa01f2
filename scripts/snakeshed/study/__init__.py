"""The configuration of a study and its validation."""
