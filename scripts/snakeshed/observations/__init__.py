"""Observations: the rows of the site table with features and model results, and model skill."""
