"""The load generator inside each process that runs users."""
