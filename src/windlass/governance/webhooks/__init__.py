"""Webhooks: transitions of the ledger, told to other systems by signed HTTP requests."""
