"""What waits in the triggerer for the end of a run."""
