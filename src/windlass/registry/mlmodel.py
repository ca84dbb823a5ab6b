"""``MLmodel``: the file by which MLflow describes a model, as somebody uploaded it: not to be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from windlass.domain.errors import Invalid

MAX_BYTES = 1 << 20
MAX_DEPTH = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class MlModel:
    """``signature`` is as it is written there: JSON texts of columns."""

    flavors: Mapping[str, Any]
    signature: Mapping[str, Any]
    run_id: str = ""
    model_id: str = ""
    example: Mapping[str, Any] = field(default_factory=dict)


def parse(data: bytes) -> MlModel:
    """Read an ``MLmodel`` file: plain values only, no aliases, within bounds.

    Raises:
        Invalid: it is none.
    """
    import yaml  # noqa: PLC0415 - only what registers MLflow's models needs it

    if len(data) > MAX_BYTES:
        raise Invalid(f"its MLmodel has {len(data)} bytes", hint=f"at most {MAX_BYTES} are read")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        depth = 0
        for event in yaml.parse(data, Loader=loader):
            # A few lines of aliases can stand for more values than there is memory.
            if isinstance(event, yaml.AliasEvent):
                raise Invalid("its MLmodel has YAML aliases", hint="log the model with MLflow's own client")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise Invalid("its MLmodel is nested too deeply")
        plain = yaml.load(data, Loader=loader)  # noqa: S506 - a safe loader, in C where there is one
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise Invalid(f"its MLmodel is not YAML: {str(error)[:200]}") from None
    if not isinstance(plain, dict) or not isinstance(plain.get("flavors"), dict):
        raise Invalid("its MLmodel names no flavors", hint="log the model with MLflow's own client")
    return MlModel(
        flavors=plain["flavors"],
        signature=_mapping(plain.get("signature")),
        run_id=str(plain.get("run_id") or ""),
        model_id=str(plain.get("model_id") or ""),
        example=_mapping(plain.get("saved_input_example_info")),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
