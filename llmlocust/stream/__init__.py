"""From bytes with arrival times to the `Record` of a request: events, deltas, and one dialect per protocol. Pure."""
