"""``MLmodel``: the file by which MLflow describes a model, as somebody uploaded it: not to be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from windlass.domain.errors import Corrupt, Invalid
from windlass.registry import plainyaml

MAX_BYTES = 1 << 20


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
    if len(data) > MAX_BYTES:
        raise Invalid(f"its MLmodel has {len(data)} bytes", hint=f"at most {MAX_BYTES} are read")
    try:
        plain = plainyaml.loaded(data, "its MLmodel")
    except Corrupt as error:
        raise Invalid(error.message, hint="log the model with MLflow's own client") from None
    if not isinstance(plain.get("flavors"), dict):
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
