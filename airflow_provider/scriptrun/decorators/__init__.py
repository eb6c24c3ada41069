"""``@task.script_run``: a function that returns what is to run."""
