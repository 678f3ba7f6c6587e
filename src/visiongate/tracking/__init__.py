"""MLflow's runs and registry."""
