"""The hook behind an Airflow connection, and what the rest of the package asks of Airflow."""
