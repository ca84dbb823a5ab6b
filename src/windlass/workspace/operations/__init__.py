"""The operations, by what they are about. ``load`` puts them on the list."""

from __future__ import annotations

import importlib

# The operations of a module, by the beginning of their names: a command imports what it calls, and nothing else.
_MODULES: dict[str, tuple[str, ...]] = {
    "storage": ("data.gc", "data.verify", "data.push", "data.pull", "data.remove"),
    "data": ("data.",),
    "environments": ("environment.",),
    "schedules": ("schedule.",),
    "deletion": ("run.remove", "run.restore", "model.remove", "model.restore", "hold.", "retention."),
    "pipeline": ("run.", "model.register"),
    "models": ("model.list", "model.show"),
    "scoring": ("model.predict",),
    "lineage": ("lineage.",),
    "registry": ("registry.",),
    "gates": ("gate.", "model.card"),
    "simulating": ("rollout.simulate",),
    "releases": ("release.", "rollout.", "endpoint.rollback", "endpoint.alertmanager"),
    "endpoints": ("endpoint.history", "status."),
    "monitoring": ("labels.", "monitor."),
    "predictions": ("predictions.",),
    "webhooks": ("webhook.",),
    "tokens": ("token.",),
    "access": ("key.", "rule."),
    "exchange": ("exchange.",),
    "audit": ("model.reproduce", "audit."),
}


def load(name: str = "") -> None:
    """Put operations on the list: all of them, or those of the module that has the one named."""
    for module, beginnings in _MODULES.items():
        if not name or name.startswith(beginnings):
            importlib.import_module(f"windlass.workspace.operations.{module}")
            if name:
                return
