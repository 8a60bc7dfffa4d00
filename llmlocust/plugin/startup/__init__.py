"""Checks before a run: of options, attributes, the machine, and the server (preflight)."""
