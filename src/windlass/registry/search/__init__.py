"""Searches over runs, experiments, logged models, registered models and versions: from MLflow's grammar to SQL."""
