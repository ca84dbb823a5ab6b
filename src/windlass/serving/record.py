"""What the prediction log keeps of a request: the record of its answer, and of the shadow's answer to it.

Field by field in docs/internals/prediction-log.md.
"""

from __future__ import annotations

import msgspec

from windlass.domain.routing import Arm
from windlass.domain.schema import Scalar

Row = dict[str, Scalar]
Answer = dict[str, Scalar]


class Prediction(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag="p", tag_field="kind"):
    """One answered request. ``release``, ``arm``, ``status`` and ``error`` are of the arm the user was assigned to;
    ``user_status``, ``answers`` and ``answered_by`` are what the user got (the stable release's, after a fallback).

    ``status`` is 200; 400 when the rows are at fault; 5xx when the assigned release is (500 raised or answered what
    is no answer, 503 overloaded or not there, 504 too late). A candidate that refuses rows which the stable release
    accepts has status 500: the fault is the candidate's.

    ``withheld`` are the columns that are not in the rows as they were sent, by policy; ``kept`` is false of a request
    whose rows and answers were left out altogether.
    """

    id: str
    at: int  # us since the epoch, when the request was read
    endpoint: str
    revision: int  # of the route table that assigned it
    rollout: str | None
    release: str
    arm: Arm
    user: str  # a hash of the user's key, never the key
    rows: list[Row]
    answers: list[Answer] | None
    status: int
    user_status: int
    error: str  # "" when the assigned arm answered
    latency_us: int  # what the user waited, in the gateway
    answered_by: str  # release; "" when nobody answered
    withheld: tuple[str, ...] = ()
    kept: bool = True


class Shadow(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag="s", tag_field="kind"):
    """The candidate's answer to a request that the stable release answered; ``id`` is the Prediction's."""

    id: str
    at: int
    endpoint: str
    rollout: str | None
    release: str
    user: str
    status: int
    answers: list[Answer] | None
    error: str
    latency_us: int  # of the candidate alone


Record = Prediction | Shadow
