"""Drift: a slow growth of latency or of memory in a long run at one load. Pure."""
