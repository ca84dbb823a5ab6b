"""MLflow's REST protocol over registry/: its calls, its forms, its errors and its limits."""
