"""Real runs against the simulator, compared with its truth."""
