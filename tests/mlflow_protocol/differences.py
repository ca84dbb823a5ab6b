"""Every way in which we mean to differ from MLflow's own server, and why. There is no other.

A row's bridge gives the two answers as they would be if the row's difference were not there, or None where it does not
apply; its example shows it, so that a row that is no longer met is found (`test_every_difference_is_met`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beside import Both, Difference, Exchange, text

Bridged = tuple[tuple[int, Any], tuple[int, Any]] | None
LARGEST = 1.7976931348623157e308
NOBODY = "0" * 32


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """The value with every part of it changed, the innermost first."""
    match value:
        case dict():
            return change({name: _each(part, change) for name, part in value.items()})
        case list():
            return change([_each(part, change) for part in value])
        case _:
            return change(value)


def _theirs(said: Exchange, change: Callable[[Any], Any]) -> Bridged:
    return (said.statuses[0], _each(said.theirs, change)), (said.statuses[1], said.ours)


def _ours(said: Exchange, change: Callable[[Any], Any]) -> Bridged:
    return (said.statuses[0], said.theirs), (said.statuses[1], _each(said.ours, change))


def _agreed(said: Exchange) -> Bridged:
    """The answers differ, and may."""
    ours = said.statuses[1], said.ours
    return ours, ours


def _when(
    theirs: int | tuple[int, ...], ours: int | tuple[int, ...], code: str | None = None
) -> Callable[[Exchange], Bridged]:
    """Applies where the two statuses are these, and our error (if named) is that."""
    wanted = [(each,) if isinstance(each, int) else each for each in (theirs, ours)]

    def bridge(said: Exchange) -> Bridged:
        fits = all(status in among for status, among in zip(said.statuses, wanted, strict=True))
        told = said.ours.get("error_code") if isinstance(said.ours, dict) else None
        return _agreed(said) if fits and (code is None or told == code) else None

    return bridge


def _infinite(value: Any) -> Any:
    if isinstance(value, float) and abs(value) == LARGEST:
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _without_own_tags(value: Any) -> Any:
    if not isinstance(value, dict) or "tags" not in value:
        return value
    kept = [tag for tag in value["tags"] if not str(tag.get("key", "")).startswith("windlass.")]
    rest = {name: part for name, part in value.items() if name != "tags"}
    return {**rest, "tags": kept} if kept else rest


def _without_aliases(value: Any) -> Any:
    if isinstance(value, dict) and "version" in value:
        return {name: part for name, part in value.items() if name != "aliases"}
    return value


def _page(said: Exchange) -> Bridged:
    return _agreed(said) if said.statuses[0] == said.statuses[1] >= 400 and "bytes" in said.theirs else None


def _version(both: Both, *, name: str) -> None:
    experiment = both.made("experiment", both.post("experiments/create", name=f"of {name}"), "experiment_id")
    assert experiment is not None
    run = both.made("run", both.post("runs/create", experiment_id=experiment), "run", "info", "run_id")
    assert run is not None
    root = (experiment, "/", run, "/artifacts/model")
    both.send("PUT", text("/api/2.0/mlflow-artifacts/artifacts/", *root, "/MLmodel"), b"flavors: {}\n")
    both.post("registered-models/create", name=name)
    both.post("model-versions/create", name=name, source=text("mlflow-artifacts:/", *root), run_id=run)


def _infinities_example(both: Both) -> None:
    run = both.made("run", both.post("runs/create", experiment_id="0"), "run", "info", "run_id")
    both.post("runs/log-metric", run_id=run, key="m", value="Infinity", timestamp=1)
    both.get("metrics/get-history", run_id=run, metric_key="m")


def _own_tags_example(both: Both) -> None:
    _version(both, name="with own tags")


def _aliases_example(both: Both) -> None:
    _version(both, name="with aliases")
    both.post("registered-models/alias", name="with aliases", alias="a", version="1")
    both.get("model-versions/search", filter="name = 'with aliases'")


def _sorted_versions(said: Exchange) -> Bridged:
    def change(value: Any) -> Any:
        if isinstance(value, list) and value and isinstance(value[0], dict) and "current_stage" in value[0]:
            return sorted(value, key=lambda version: int(version["version"]))
        return value

    return (said.statuses[0], _each(said.theirs, change)), (said.statuses[1], _each(said.ours, change))


def _latest_example(both: Both) -> None:
    _version(both, name="in two stages")
    both.post("model-versions/transition-stage", name="in two stages", version="1", stage="Staging")
    experiment = both.made("experiment", both.post("experiments/create", name="second"), "experiment_id")
    assert experiment is not None
    run = both.made("run", both.post("runs/create", experiment_id=experiment), "run", "info", "run_id")
    assert run is not None
    root = (experiment, "/", run, "/artifacts/model")
    both.send("PUT", text("/api/2.0/mlflow-artifacts/artifacts/", *root, "/MLmodel"), b"flavors: {}\n")
    both.post("model-versions/create", name="in two stages", source=text("mlflow-artifacts:/", *root), run_id=run)
    both.post("registered-models/get-latest-versions", name="in two stages")


def _download_example(both: Both) -> None:
    run = both.made("run", both.post("runs/create", experiment_id="0"), "run", "info", "run_id")
    assert run is not None
    both.send("PUT", text("/api/2.0/mlflow-artifacts/artifacts/0/", run, "/artifacts/m/MLmodel"), b"flavors: {}\n")
    both.post("registered-models/create", name="downloaded")
    both.post("model-versions/create", name="downloaded", source=text("runs:/", run, "/m"), run_id=run)
    both.get("model-versions/get-download-uri", name="downloaded", version="1")


def _rename_example(both: Both) -> None:
    _version(both, name="not renamed")
    both.post("registered-models/rename", name="not renamed", new_name="renamed")


def _production_example(both: Both) -> None:
    _version(both, name="ungated")
    both.post("model-versions/transition-stage", name="ungated", version="1", stage="Production")


def _path_example(both: Both) -> None:
    run = both.made("run", both.post("runs/create", experiment_id="0"), "run", "info", "run_id")
    assert run is not None
    both.send("PUT", text("/api/2.0/mlflow-artifacts/artifacts/0/", run, "/artifacts/x;y"), b"1")


def _empty_example(both: Both) -> None:
    run = both.made("run", both.post("runs/create", experiment_id="0"), "run", "info", "run_id")
    assert run is not None
    both.send("PUT", text("/api/2.0/mlflow-artifacts/artifacts/0/", run, "/artifacts/empty"), b"")
    both.get("artifacts/list", run_id=run)


def _ignore(_: Exchange) -> None:
    return None


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "infinities", "", "an infinite metric stays infinite; MLflow's SQL store has the largest double instead",
        "what was logged is what is read: a search for what overflowed must not find a number that nobody logged",
        lambda said: _theirs(said, _infinite), _infinities_example,
    ),
    Difference(
        "own tags", "model-versions|registered-models", "versions have tags windlass.*: semver, digest",
        "a client of MLflow's sees which version of ours it has; nobody else's tags are touched",
        lambda said: _ours(said, _without_own_tags), _own_tags_example,
    ),
    Difference(
        "aliases in lists", "GET (model-versions/search|registered-models/(get|search)$)",
        "a version in a list names its aliases, as it does by itself",
        "MLflow leaves them out of its search only; the client's entity has the field either way",
        lambda said: _ours(said, _without_aliases) if said.statuses == (200, 200) else None, _aliases_example,
    ),
    Difference(
        "order of the latest", "(POST|GET) registered-models/(get|search|get-latest-versions)",
        "the latest versions of the stages are told newest first", "MLflow's order is that of its database",
        _sorted_versions, _latest_example,
    ),
    Difference(
        "download addresses", "GET model-versions/get-download-uri", "runs:/ is resolved to where the files are",
        "whoever asks wants to download; every client that takes runs:/ takes the other too",
        _when(200, 200), _download_example,
    ),
    Difference(
        "errors are JSON", "", "a wrong method or an unknown path is told in JSON, by MLflow as an HTML page",
        "a client of a JSON API reads JSON; the status is the same",
        _page, lambda both: _ignore(both.send("PUT", "/api/2.0/mlflow/experiments/create")),
    ),
    Difference(
        "not implemented", "/traces|/webhooks|/scorers|/prompts", "what we do not have is 501 with a JSON error",
        "the client then says that the server does not have it, not that the address is wrong",
        lambda said: _agreed(said) if said.statuses[1] == 501 else None,
        lambda both: _ignore(both.send("GET", "/api/2.0/mlflow/traces")),
    ),
    Difference(
        "their failures", "", "what MLflow's server fails at with a 500 is refused with 400, or done",
        "bad input is the caller's error, never ours",
        _when(500, (200, 400, 404)),
        lambda both: _ignore(both.send("POST", "/api/2.0/mlflow/experiments/create", b"[1]")),
    ),
    Difference(
        "strict types", "POST runs/(create|update|log-batch)|GET metrics/get-history|experiments/search",
        "a value of the wrong type is refused in every field; MLflow ignores it, or writes it otherwise, in some",
        "a dropped or rewritten value is lost data that nobody is told of",
        _when(200, 400, "INVALID_PARAMETER_VALUE"),
        lambda both: _ignore(both.post("runs/create", experiment_id="0", tags="x")),
    ),
    Difference(
        "operators in small letters", "experiments/search", "`like` is `LIKE` in every search",
        "MLflow takes it in its search for runs, and not in that for experiments",
        _when(400, 200), lambda both: _ignore(both.post("experiments/search", max_results=1, filter="name like 'D%'")),
    ),
    Difference(
        "names of nothing", "POST runs/search", "a parameter, metric or tag with no name is refused",
        "nothing can be logged under it, so it is a slip of the pen; MLflow finds nothing",
        _when(200, 400, "INVALID_PARAMETER_VALUE"),
        lambda both: _ignore(both.post("runs/search", experiment_ids=["0"], filter="params. = '1'")),
    ),
    Difference(
        "two faults at once", "POST (model-versions/create|registered-models/alias)",
        "where the model or version is missing and a value is wrong too, the missing thing is told",
        "both are refused; which of two faults is told first is nobody's contract",
        _when(400, 404, "RESOURCE_DOES_NOT_EXIST"),
        lambda both: _ignore(both.post("registered-models/alias", name="nobody", alias="latest", version="1")),
    ),
    Difference(
        "pages of nothing", "GET registered-models/search", "a page of no or fewer models is refused",
        "MLflow answers with a token that goes round for ever; its other searches refuse it",
        _when(200, 400, "INVALID_PARAMETER_VALUE"),
        lambda both: _ignore(both.get("registered-models/search", max_results=0)),
    ),
    Difference(
        "negative numbers of things", "GET (experiments/get|model-versions/get)",
        "-1 is no id of an experiment and no number of a version, so it is a wrong value, not a missing thing",
        "ids and versions are numbers from 0 and 1",
        _when(404, 400, "INVALID_PARAMETER_VALUE"),
        lambda both: _ignore(both.get("experiments/get", experiment_id="-1")),
    ),
    Difference(
        "paths of artifacts",
        "PUT /api/2.0/mlflow-artifacts", "`;`, backslashes and drive letters are refused in paths",
        "CVE-2024-1593, CVE-2023-2780: some reader of the path takes them for more than a letter",
        _when(200, 400, "INVALID_PARAMETER_VALUE"), _path_example,
    ),
    Difference(
        "artifact locations", "POST experiments/create", "an artifact_location of one's own is refused",
        "artifacts are kept where they are deduplicated, checked and collected; other places do none of that",
        _when(200, 400, "INVALID_PARAMETER_VALUE"),
        lambda both: _ignore(both.post("experiments/create", name="elsewhere", artifact_location="s3://b/p")),
    ),
    Difference(
        "empty answers", "PUT /api/2.0/mlflow-artifacts", "an upload is answered with {}, by MLflow with nothing",
        "as MLflow's own documentation, its protocol file and its servers before 3 have it",
        lambda said: _agreed(said) if (said.theirs, said.ours) == ({"bytes": ""}, {}) else None,
        _empty_example,
    ),
    Difference(
        "no renaming with versions", "POST registered-models/rename", "a model with versions keeps its name",
        "name@version is what releases and the ledger call it for ever",
        _when(200, (400, 500), "INVALID_STATE"), _rename_example,
    ),
    Difference(
        "production is gated", "POST model-versions/transition-stage",
        "a move to Production needs what policy asks for",
        "a registry that can be trusted: a passing gate report on that digest, and approvals",
        _when(200, 403, "PERMISSION_DENIED"), _production_example,
    ),
)  # fmt: skip
