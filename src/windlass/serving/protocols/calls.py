"""Which call a method and a path are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from urllib.parse import unquote


class Op(Enum):
    INVOKE = "invoke"  # MLflow's /invocations; of the endpoint, or (without a name) of the only one
    INFER = "infer"  # the Open Inference Protocol's
    SERVER = "server"
    MODEL = "model"
    MODEL_READY = "model ready"
    LIVE = "live"
    READY = "ready"
    HEALTH = "health"
    GATEWAY_READY = "gateway ready"
    PING = "ping"
    VERSION = "version"
    METRICS = "metrics"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Call:
    """``endpoint`` and ``version`` are empty where the path names none; ``allow`` is the method to use instead."""

    op: Op
    endpoint: str = ""
    version: str = ""
    allow: str = ""
    oip: bool = False  # answered, errors too, as the Open Inference Protocol has it


_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
_INVOCATIONS = re.compile(rf"/endpoints/({_NAME})/invocations")
_MODEL = re.compile(rf"/v2/models/({_NAME})(?:/versions/([^/]{{1,200}}))?(|/ready|/infer)/?")
_OF_MODEL = MappingProxyType({"": Op.MODEL, "/ready": Op.MODEL_READY, "/infer": Op.INFER})
_FIXED = MappingProxyType(
    {
        "/invocations": Call(Op.INVOKE),
        "/health": Call(Op.HEALTH),
        "/ready": Call(Op.GATEWAY_READY),
        "/ping": Call(Op.PING),
        "/version": Call(Op.VERSION),
        "/metrics": Call(Op.METRICS),
        "/v2": Call(Op.SERVER, oip=True),
        "/v2/": Call(Op.SERVER, oip=True),
        "/v2/health/live": Call(Op.LIVE, oip=True),
        "/v2/health/ready": Call(Op.READY, oip=True),
    }
)


def route(method: str, path: str) -> Call:
    """The call of a method and a path (without its query). HEAD is asked as GET is."""
    call = _of(path)
    if call.op is Op.NOTHING:
        return call
    wanted = "POST" if call.op in (Op.INVOKE, Op.INFER) else "GET"
    if method == wanted or (method == "HEAD" and wanted == "GET"):
        return call
    return Call(call.op, call.endpoint, call.version, allow=wanted, oip=call.oip)


def _of(path: str) -> Call:
    found = _INVOCATIONS.fullmatch(path)
    if found is not None:
        return Call(Op.INVOKE, found.group(1))
    fixed = _FIXED.get(path)
    if fixed is not None:
        return fixed
    found = _MODEL.fullmatch(path)
    if found is not None:
        name, version, rest = found.groups()
        return Call(_OF_MODEL[rest], name, unquote(version or ""), oip=True)
    return Call(Op.NOTHING, oip=path.startswith("/v2/"))
