"""The operations, by what they are about. ``load`` puts every one of them on the list."""

from __future__ import annotations

import importlib

_MODULES = ("data", "pipeline", "models", "gates", "releases", "endpoints", "monitoring", "audit")


def load() -> None:
    for module in _MODULES:
        importlib.import_module(f"windlass.workspace.operations.{module}")
