"""YAML from a stranger: mappings, lists and scalars; without aliases, shallow, and of a bounded size."""

from __future__ import annotations

from typing import Any

from windlass.domain.errors import Corrupt

DEEPEST = 16


def loaded(data: bytes, where: str) -> dict[str, Any]:
    """A mapping written as YAML.

    Raises:
        Corrupt: it is not YAML, not a mapping, or uses what no MLflow writes.
    """
    import yaml  # noqa: PLC0415 - only what reads MLflow's folders needs it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = data.decode()
        depth = 0
        # The events come one by one, whatever the text holds; only then is anything built from them.
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.AliasEvent):
                raise Corrupt(f"{where} has a YAML alias in it, which MLflow never writes")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > DEEPEST:
                raise Corrupt(f"{where} is nested too deeply")
        found = yaml.load(text, Loader=loader)  # noqa: S506 - a safe one, of either make
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise Corrupt(f"{where} is not YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(found, dict):
        raise Corrupt(f"{where} is not a mapping")
    return found
