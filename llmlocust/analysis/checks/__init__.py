"""The checks of a run, by what they are about; analysis.trust makes them all."""
