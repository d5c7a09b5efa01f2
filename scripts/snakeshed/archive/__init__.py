"""The archive of a study: written, verified, and run again."""
