"""Operations on who may call an endpoint, and whom a rule gives which release."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from windlass.delivery import keys, quarantine, releases, routing, rules
from windlass.delivery.keys import Key
from windlass.delivery.rules import EndpointRule
from windlass.domain import digest
from windlass.domain.errors import Conflict, Unavailable
from windlass.domain.ports import Transaction
from windlass.workspace import gating, releasing
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateKey:
    """``name`` says whose key it is. ``endpoint``: by default the project's."""

    name: str
    endpoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedKey:
    """``key`` is told once and kept nowhere; ``created`` in us. ``live``: the gateways know it."""

    endpoint: str
    name: str
    key: str
    created: int
    live: bool


@operation("key.create")
def create_key(ws: Workspace, request: CreateKey) -> CreatedKey:
    """Make an API key of an endpoint, and tell it once; from the first on, every request needs one."""
    key, made = keys.create(
        ws.database,
        endpoint=request.endpoint or ws.config.endpoint.name,
        name=request.name,
        actor=ws.actor,
        now=ws.now,
        entropy=secrets.token_bytes,
    )
    return CreatedKey(endpoint=made.endpoint, name=made.name, key=key, created=made.created, live=_push(ws))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListKeys:
    endpoint: str | None = None


@operation("key.list", reads_only=True)
def list_keys(ws: Workspace, request: ListKeys) -> list[Key]:
    """List API keys by their digests: of which endpoint, since when, when revoked."""
    with ws.database.read() as tx:
        return keys.ls(tx, request.endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeKey:
    name: str
    endpoint: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedKey:
    """``refused``: every gateway refuses it already; else each does as soon as it is reached."""

    endpoint: str
    name: str
    refused: bool


@operation("key.revoke")
def revoke_key(ws: Workspace, request: RevokeKey) -> RevokedKey:
    """End an API key at once."""
    done = keys.revoke(
        ws.database,
        endpoint=request.endpoint or ws.config.endpoint.name,
        name=request.name,
        actor=ws.actor,
        reason=request.reason,
        now=ws.now,
    )
    return RevokedKey(endpoint=done.endpoint, name=done.name, refused=_push(ws))


@dataclass(frozen=True, slots=True, kw_only=True)
class AddRule:
    """``to`` is "candidate" (whatever is on trial) or MODEL@VERSION, which is served beside the stable release and has
    to be cleared as any release. A request matches that carries ``header`` (with ``value``, if given) and whose user
    stands within ``share`` of all users."""

    name: str
    to: str = routing.CANDIDATE
    header: str = ""
    value: str = ""
    share: float = 1.0
    endpoint: str | None = None
    reason: str = ""


@operation("rule.add")
def add_rule(ws: Workspace, request: AddRule) -> EndpointRule:
    """Send who carries a header, or a share of the users, to a release of their own."""
    endpoint = request.endpoint or ws.config.endpoint.name
    header = request.header.lower()
    made = rules.add(
        ws.database,
        endpoint=endpoint,
        name=request.name,
        header=header,
        value=request.value,
        share=request.share,
        admit=None if request.to == routing.CANDIDATE else _admission(ws, request.to, endpoint),
        actor=ws.actor,
        reason=request.reason,
        now=ws.now,
    )
    _push(ws)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRules:
    endpoint: str | None = None


@operation("rule.list", reads_only=True)
def list_rules(ws: Workspace, request: ListRules) -> list[EndpointRule]:
    """List the rules of endpoints in the order in which they are asked."""
    with ws.database.read() as tx:
        return rules.ls(tx, request.endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveRule:
    name: str
    endpoint: str | None = None
    reason: str = ""


@operation("rule.remove")
def remove_rule(ws: Workspace, request: RemoveRule) -> EndpointRule:
    """Take a rule away; its users are treated as all others again."""
    endpoint = request.endpoint or ws.config.endpoint.name
    gone = rules.remove(
        ws.database, endpoint=endpoint, name=request.name, actor=ws.actor, reason=request.reason, now=ws.now
    )
    _push(ws)
    return gone


def _admission(ws: Workspace, reference: str, endpoint: str) -> Callable[[Transaction, int], str]:
    version = gating.find_version(ws, reference)
    clearance = gating.cleared(ws, version, gating.asked(ws))
    bundle = releasing.bundled(ws, version, endpoint=endpoint, config=ws.config, clearance=clearance)
    record = ws.objects.put(digest.canonical(bundle))

    def admit(tx: Transaction, at: int) -> str:
        quarantine.require_none(tx, bundle, force=False, reason="")
        socket = str(ws.layout.worker_socket(record))
        releases.admit(tx, bundle, clearance, record=record, socket=socket, at=at)
        return record

    return admit


def _push(ws: Workspace) -> bool:
    """Give the gateways the newest table now; False if one has yet to get it."""
    with suppress(Unavailable, Conflict):
        return routing.push(ws.database, ws.layout.socket("gateway"), ws.now).settled
    return False
