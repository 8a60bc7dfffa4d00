"""The causes of the limits of a system: what binds at each number and cliff, with its evidence. Pure."""
