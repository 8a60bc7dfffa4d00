"""Counting: mergeable histograms, levels of load, thresholds, and the names and columns of a run's files. Pure."""
