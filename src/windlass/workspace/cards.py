"""The model card of a version, put together from everything that is recorded of it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from windlass.capture import environment, trees
from windlass.domain.errors import NotFound
from windlass.governance import approvals
from windlass.packaging.card import card
from windlass.registry.models import Version
from windlass.validation import reports
from windlass.workspace.workspace import Workspace


def card_of(ws: Workspace, version: Version) -> dict[str, Any]:
    """What the version is for, made of, worth, and not good at (``packaging.card``)."""
    signature, onnx = None, None
    with suppress(NotFound):  # a model that MLflow's clients logged without a signature has none
        signature = json.loads(trees.read(ws.objects, version.package, "windlass.json"))["signature"]
    with suppress(NotFound):
        onnx = json.loads(trees.read(ws.objects, version.package, "onnx.json"))
    with ws.database.read() as tx:
        try:
            digest, report = reports.find(tx, ws.objects, version.reference)
        except NotFound:
            digest, report, given = "", None, []
        else:
            given = approvals.ls(tx, version.reference, digest)
    known: dict[str, Any] = {}
    with suppress(NotFound):  # of what MLflow's clients logged, only the digest of its requirements is known
        found = environment.load(ws.objects, version.origin.environment)
        known = {"python": found.python, "platform": found.platform, "distributions": dict(found.distributions)}
    return card(
        version=version,
        signature=signature,
        onnx=onnx,
        report=report,
        report_digest=digest,
        intended_use=ws.config.model.intended_use,
        environment=known,
        approvals=[asdict(each) for each in given],
    )
