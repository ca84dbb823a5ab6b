"""Windlass takes machine-learning models from training to production and back."""

__version__ = "0.1.0"
