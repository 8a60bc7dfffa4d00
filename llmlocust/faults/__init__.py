"""Faults: what is broken on purpose between the load and the server, or in the server, while a run measures."""
