"""Reading the files of a run: our own, Locust's, and published tables."""
