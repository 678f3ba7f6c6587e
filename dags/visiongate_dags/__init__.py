"""What the DAGs are made of. Only the modules that say so import Airflow."""
