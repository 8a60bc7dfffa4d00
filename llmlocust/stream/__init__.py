"""What came over the wire: bytes with their arrival times, events, deltas, and the `Record` they come to. Pure."""
