"""A run, on the master or in the only process."""
