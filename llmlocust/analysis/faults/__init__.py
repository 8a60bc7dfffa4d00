"""Faults on purpose: how long users wait until the service has recovered, and what the fault costs them. Pure."""
