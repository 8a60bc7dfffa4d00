"""The breakpoints of a system: SLO limit, knee, saturation and collapse, with their intervals. Pure."""
