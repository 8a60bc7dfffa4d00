"""The phases of a run: a surge and the recovery from it, a soak, a replay. Pure."""
