"""What is known of versions and of runs, as plain values by section: what ``registry.comparing`` compares."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from windlass.capture import environment, trees
from windlass.domain.digest import short
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.names import Reference
from windlass.domain.ports import ObjectStore, Transaction
from windlass.governance import approvals
from windlass.pipelines import runs as pipeline_runs
from windlass.registry import comparing, mlmodel, models, registered
from windlass.registry.comparing import Comparison, Subject, Value
from windlass.registry.models import Version
from windlass.registry.tracking import artifacts, runs
from windlass.validation import reports
from windlass.workspace.referring import run_named
from windlass.workspace.workspace import Workspace

MOST = 20
Section = Mapping[str, Value]


def compare(ws: Workspace, tx: Transaction, things: Sequence[str], *, everything: bool) -> Comparison:
    """Versions and runs side by side; ``everything``: what is equal too.

    Raises:
        Invalid: fewer than two things, or too many.
        NotFound: one of them is neither a version nor a run.
    """
    if not 2 <= len(things) <= MOST:
        raise Invalid(f"{len(things)} to compare", hint=f"name 2 to {MOST} versions or runs: windlass compare A B")
    found = [_found(ws, tx, thing) for thing in things]
    sections = [dict(sections) for _, sections in found]
    for name in ("packages", "signature", "files"):
        # What is not known of one says nothing about the difference.
        if any(name not in each for each in sections):
            for each in sections:
                each.pop(name, None)
    return comparing.compare(
        [Subject(title=title, sections=each) for (title, _), each in zip(found, sections, strict=True)],
        everything=everything,
    )


def _found(ws: Workspace, tx: Transaction, thing: str) -> tuple[str, dict[str, Section]]:
    reference = Reference.parse(thing)
    if not tx.row("SELECT 1 AS one FROM registered_models WHERE name = ? AND deleted_at IS NULL", (reference.name,)):
        run = run_named(tx, thing)
        if run is not None:
            return f"run {run[:8]}", dict(_of_run(ws, tx, run))
    version = models.find(tx, ws.objects, reference)
    return version.reference, dict(_of_version(ws, tx, version))


def _of_version(ws: Workspace, tx: Transaction, version: Version) -> Iterator[tuple[str, Section]]:
    entry = registered.entry_of(tx, version.model, version.number)
    manifest = trees.manifest(ws.objects, version.package).files
    small = {each.path: each.digest for each in manifest if each.size <= mlmodel.MAX_BYTES}
    yield (
        "standing",
        {
            "stage": entry.stage,
            "aliases": ", ".join(entry.aliases) or None,
            "description": entry.description or None,
            "registered by": version.actor,
        },
    )
    yield "params", {**dict(_flat(version.origin.config)), "seed": version.origin.seed}
    yield "metrics", {name: _number(value) for name, value in sorted(version.metrics.items())}
    yield "tags", entry.tags
    yield "data", _data(version.origin.data)
    yield "code", {"commit": version.commit or None, "digest": version.origin.code}
    packages = _packages(ws.objects, version.origin.environment) or _required(ws.objects, small)
    yield from _environment(ws.objects, version.origin.environment, packages)
    if signature := _signature(ws.objects, small):
        yield "signature", signature
    yield from _gate(ws, tx, version)
    yield (
        "package",
        {"digest": version.package, "files": len(manifest), "bytes": sum(each.size for each in manifest)},
    )
    yield "files", {each.path: f"{short(each.digest)} {each.size} B" for each in manifest}


def _of_run(ws: Workspace, tx: Transaction, run_id: str) -> Iterator[tuple[str, Section]]:
    run = runs.find_run(tx, run_id)
    yield "standing", {"name": run.name, "status": str(run.status), "user": run.user or None}
    made = None
    with suppress(NotFound):
        made = pipeline_runs.find(tx, run_id)
    yield "params", run.params
    yield "metrics", {name: _number(metric.value) for name, metric in run.metrics.items()}
    yield "tags", {key: value for key, value in run.tags.items() if key not in ("mlflow.runName", "windlass.data")}
    if made is not None:
        yield "data", _data(made.snapshots)
        yield "code", {"commit": made.code.commit or None, "digest": made.closure}
        yield from _environment(ws.objects, made.environment, _packages(ws.objects, made.environment))
    else:
        yield "data", _data({f"{each.name}@{each.digest}": each.digest for each in run.datasets})
        yield "code", {"commit": run.tags.get("mlflow.source.git.commit")}
    files = list(artifacts.beneath(tx, runs.run_root(run.experiment_id, run_id)))
    if files:
        yield "files", {each.path: f"{short(each.digest)} {each.size} B" for each in files}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Value]]:
    """Nested configuration by dotted names; lists as JSON."""
    if isinstance(value, Mapping) and (value or not path):
        for key, inner in sorted(value.items()):
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, str | int | float | bool | None):
        yield path, value
    else:
        yield path, json.dumps(value, sort_keys=True)


def _number(value: float) -> Value:
    """JSON has no number for the rest."""
    return value if math.isfinite(value) else str(value)


def _data(known: Mapping[str, str]) -> Section:
    """Dataset by dataset, its version and its digest; of a dataset that was read in two versions, each."""
    names = [reference.rpartition("@")[0] or reference for reference in known]
    return {
        (reference if names.count(name) > 1 else name): f"{reference} {digest}"
        for name, (reference, digest) in zip(names, known.items(), strict=True)
    }


def _environment(objects: ObjectStore, name: str, packages: Section | None) -> Iterator[tuple[str, Section]]:
    described: dict[str, Value] = {"digest": name}
    with suppress(NotFound):
        found = environment.load(objects, name)
        described |= {"python": f"{found.implementation} {found.python}", "platform": found.platform}
    yield "environment", described
    if packages is not None:
        yield "packages", packages


def _packages(objects: ObjectStore, name: str) -> Section | None:
    try:
        found = environment.load(objects, name)
    except NotFound:
        return None
    return {**dict(found.distributions), **dict(found.local)}


def _required(objects: ObjectStore, files: Mapping[str, str]) -> Section | None:
    """What ``requirements.txt`` of a logged model pins."""
    if "requirements.txt" not in files:
        return None
    lines = objects.get(files["requirements.txt"]).decode(errors="replace").splitlines()
    wanted = [line.partition("#")[0].strip() for line in lines]
    found: dict[str, Value] = {}
    for name, pinned, version in (line.partition("==") for line in wanted if line and not line.startswith("-")):
        found[name.strip().lower()] = version.strip() if pinned else "any"
    return found


def _signature(objects: ObjectStore, files: Mapping[str, str]) -> Section:
    """The columns as far as the package tells; its files may be as somebody uploaded them."""
    try:
        if "windlass.json" in files:
            said = json.loads(objects.get(files["windlass.json"]))["signature"]
            return {
                f"{what[:-1]} {each['name']}": f"{each['kind']}{', may be null' if each.get('nullable') else ''}"
                for what in ("inputs", "outputs")
                for each in said.get(what, ())
            }
        if "MLmodel" in files:
            found = mlmodel.parse(objects.get(files["MLmodel"])).signature
            return {str(name): str(value) for name, value in found.items() if value is not None}
    except (Invalid, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return {}


def _gate(ws: Workspace, tx: Transaction, version: Version) -> Iterator[tuple[str, Section]]:
    try:
        name, report = reports.find(tx, ws.objects, version.reference)
    except NotFound:
        yield "gate", {"verdict": None}
        return
    results: dict[str, Value] = {"verdict": str(report.verdict)}
    for each in report.results:
        measured = "" if each.value is None else f" {each.value:.4g}"
        bounds = "" if each.low is None or each.high is None else f" ({each.low:.4g} .. {each.high:.4g})"
        results[f"{each.family}: {each.name}"] = f"{each.verdict}{measured}{bounds}"
    yield "gate", results
    yield "approvals", {each.actor: "approved" for each in approvals.ls(tx, version.reference, name)}
