"""Conversion of bytes with arrival times to the `Record` of a request: events, deltas, one dialect per protocol. Pure."""
