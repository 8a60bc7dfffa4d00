"""Where a system breaks: the four numbers, with their intervals. Pure."""
