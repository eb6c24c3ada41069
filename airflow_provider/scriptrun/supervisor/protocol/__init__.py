"""All that both sides share: frames, statuses, the manifest format, canonical JSON, atomic writes.

Python 3.8 and later, standard library only. Nothing in here knows about Airflow, a target, or a run's files.
"""

#: Raised by one for every change that an older peer would misread. A run's handle carries the one it started with.
PROTOCOL_VERSION = 1
