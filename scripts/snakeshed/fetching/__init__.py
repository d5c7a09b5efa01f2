"""What a study names by a source: which files it needs, where they are, and what they were."""
