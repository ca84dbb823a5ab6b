"""``windlass.toml``, read strictly: every table is a frozen dataclass of the capability that it configures."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from windlass.capture.config import DatasetConfig, RemoteConfig
from windlass.delivery.config import EndpointConfig, GatewayConfig, PredictionsConfig, RollbackPolicy, ServingConfig
from windlass.delivery.strategy import RolloutPolicy
from windlass.domain import names
from windlass.domain.errors import Invalid, NotFound
from windlass.governance.retention.config import RetentionConfig
from windlass.governance.webhooks.config import WebhookConfig
from windlass.monitoring.policy import MonitorPolicy, RetrainingPolicy
from windlass.pipelines.config import PipelineConfig
from windlass.pipelines.schedules import ScheduleConfig
from windlass.registry.config import ModelConfig, RegistryConfig
from windlass.validation.policy import GatePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectConfig:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole of ``windlass.toml``; a table left out has its defaults."""

    project: ProjectConfig
    data: dict[str, DatasetConfig] = field(default_factory=dict)
    remotes: dict[str, RemoteConfig] = field(default_factory=dict)
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)
    schedules: dict[str, ScheduleConfig] = field(default_factory=dict)
    model: ModelConfig
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)  # name -> people
    gates: GatePolicy = field(default_factory=GatePolicy)
    endpoint: EndpointConfig
    serving: ServingConfig = field(default_factory=ServingConfig)
    gateway: GatewayConfig = field(default_factory=GatewayConfig)
    predictions: PredictionsConfig = field(default_factory=PredictionsConfig)
    rollout: RolloutPolicy = field(default_factory=RolloutPolicy)
    rollback: RollbackPolicy = field(default_factory=RollbackPolicy)
    monitors: MonitorPolicy = field(default_factory=MonitorPolicy)
    retraining: RetrainingPolicy = field(default_factory=RetrainingPolicy)
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    webhooks: dict[str, WebhookConfig] = field(default_factory=dict)


def load(path: Path) -> Config:
    """Read and check a project's configuration.

    Raises:
        NotFound: no such file.
        Invalid: it is malformed; the message names the line and the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"no file {path}", hint="run `windlass init` to make a project") from None
    except UnicodeDecodeError:
        raise Invalid(f"{path} is not UTF-8 text") from None
    return parse(text, str(path))


def parse(text: str, where: str) -> Config:
    """``text`` as a configuration; ``where`` names it in errors."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said, _, at = str(error).partition(" (at ")
        numbered = re.match(r"line (\d+)", at)
        line = int(numbered.group(1)) if numbered else text.count("\n") + 1
        place = f"{where}:{line}"
        raise Invalid(f"{place}: {said[:1].lower()}{said[1:]}", hint="see https://toml.io for the format") from None
    try:
        config = msgspec.convert(table, Config, strict=True)
        _reject_unknown(table, Config)
        names.checked(config.project.name, "project name")
        names.checked(config.model.name, "model name")
        names.checked(config.endpoint.name, "endpoint name")
        for group in config.groups:
            names.checked(group, "group name")
        for dataset in config.data:
            names.checked(dataset, "dataset name")
        for schedule in config.schedules:
            names.checked(schedule, "schedule name")
        for webhook in config.webhooks:
            names.checked(webhook, "webhook name")
    except msgspec.ValidationError as error:
        message, _, at = str(error).partition(" - at `$")
        key = _key_path(at.rstrip("`"))
        if missing := re.search(r"missing required field `(\w+)`", message):
            key = [*key, missing.group(1)]
        raise _invalid(where, text, key, message) from None
    except _UnknownKey as error:
        raise _invalid(where, text, error.path, f"unknown key; known here: {', '.join(error.known)}") from None
    except Invalid as error:
        raise Invalid(f"{where}: {error.message}", hint=error.hint) from None
    _check_group(config, where, text)
    return config


def _check_group(config: Config, where: str, text: str) -> None:
    group = config.gates.approval_group
    if group and group not in config.groups:
        known = f"it has: {', '.join(config.groups)}" if config.groups else "it has none"
        raise _invalid(where, text, ["gates", "approval_group"], f"no group '{group[:80]}' under [groups] ({known})")


class _UnknownKey(Exception):
    def __init__(self, path: Sequence[str], known: Sequence[str]) -> None:
        super().__init__(path)
        self.path, self.known = path, known


def _reject_unknown(value: object, kind: object, path: tuple[str, ...] = ()) -> None:
    """msgspec ignores keys that a dataclass lacks; a misspelt key must not silently mean the default."""
    described = msgspec.inspect.type_info(kind)
    _walk(value, described, path)


def _walk(value: object, described: msgspec.inspect.Type, path: tuple[str, ...]) -> None:
    if isinstance(described, msgspec.inspect.DataclassType) and isinstance(value, dict):
        fields = {f.encode_name: f.type for f in described.fields}
        for key, inner in value.items():
            if key not in fields:
                raise _UnknownKey((*path, key), sorted(fields))
            _walk(inner, fields[key], (*path, key))
    elif isinstance(described, msgspec.inspect.DictType) and isinstance(value, dict):
        for key, inner in value.items():
            _walk(inner, described.value_type, (*path, key))
    elif isinstance(described, msgspec.inspect.VarTupleType | msgspec.inspect.ListType) and isinstance(value, list):
        for index, inner in enumerate(value):
            _walk(inner, described.item_type, (*path, str(index)))
    elif isinstance(described, msgspec.inspect.UnionType):
        for option in described.types:
            if isinstance(option, msgspec.inspect.DataclassType) and isinstance(value, dict):
                _walk(value, option, path)


def _key_path(at: str) -> list[str]:
    """``.gates.metrics[...].min`` as keys; msgspec writes ``[...]`` for any key of a dict and ``[2]`` for an item."""
    return [part for part in re.split(r"[.\[\]]+", at) if part]


def _invalid(where: str, text: str, path: Sequence[str], message: str) -> Invalid:
    key = ".".join(part for part in path if part != "...")
    line = _line_of(text, path)
    place = f"{where}:{line}" if line else where
    message = message[:1].lower() + message[1:]
    return Invalid(f"{place}: {key}: {message}" if key else f"{place}: {message}")


def _line_of(text: str, path: Sequence[str]) -> int:
    """The line of a key, or of the nearest table above it that is written down; 0 if none is.

    tomllib keeps no positions, and a second parser only for errors would weigh more than this search.
    """
    keys = [part for part in path if part != "..." and not part.isdigit()]
    best, table = 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?", line):
            table = [part.strip().strip("\"'") for part in header.group(1).split(".")]
            if table == keys[: len(table)] and len(table) <= len(keys):
                best = number
        elif (assigned := re.match(r"\s*([A-Za-z0-9_.\"'-]+)\s*=", line)) and keys:
            written = [*table, *(part.strip("\"'") for part in assigned.group(1).split("."))]
            if written == keys[: len(written)]:
                best = number
                if len(written) == len(keys):
                    return number
            elif line.find(f"{keys[-1]} ") > 0 and table == keys[:-1][: len(table)] and written == keys[:-1]:
                best = number
    return best
