"""The small stdlib-only package that is sent to a target; one process of it stands beside each run (Python 3.8+)."""
