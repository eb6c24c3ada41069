"""The operator: one script run as one Airflow task."""
