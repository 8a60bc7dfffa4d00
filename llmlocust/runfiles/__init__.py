"""The files of a run: their format, writing them, and reading them."""
