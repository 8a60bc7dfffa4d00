"""What is checked before a run: options, attributes, the machine, and the server (preflight)."""
