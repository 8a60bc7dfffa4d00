"""The comparison of runs: the differences of their figures, and whether noise explains them. Pure."""
