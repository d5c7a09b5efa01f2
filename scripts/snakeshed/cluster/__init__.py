"""Runs on a Kubernetes cluster from a laptop, by kubectl: what `snakeshed cluster` does."""
