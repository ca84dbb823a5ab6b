"""MLflow's search grammar, read into plain data: no SQL, nothing looked up, nothing kept between calls."""

from __future__ import annotations

from windlass.registry.grammar.filters import Comparison, parse_filter
from windlass.registry.grammar.orders import parse_fields, parse_order
from windlass.registry.grammar.subjects import MAX_TEXT
from windlass.registry.grammar.tables import EXPERIMENTS, LOGGED_MODELS, MODELS, RUNS, VERSIONS, Grammar, Order

__all__ = [
    "EXPERIMENTS",
    "LOGGED_MODELS",
    "MAX_TEXT",
    "MODELS",
    "RUNS",
    "VERSIONS",
    "Comparison",
    "Grammar",
    "Order",
    "parse_fields",
    "parse_filter",
    "parse_order",
]
