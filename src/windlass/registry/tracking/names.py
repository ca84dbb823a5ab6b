"""What may be a name or a value in tracking: the limits are MLflow's, so that its clients meet no others."""

from __future__ import annotations

import posixpath
import re
from functools import lru_cache

from windlass.domain.errors import Invalid

MAX_KEY = 250
MAX_PARAM = 6000
MAX_TAG = 8000
MAX_EXPERIMENT_TAG = 20_000
MAX_REGISTRY_TAG = 100_000
MAX_EXPERIMENT_NAME = 500
LONG = 2**63 - 1
RUN_NAME = "mlflow.runName"
USER = "mlflow.user"
PARENT = "mlflow.parentRunId"
DATASET_CONTEXT = "mlflow.data.context"

_KEY = re.compile(r"[/\w.\- :]*")


def checked_key(key: str, where: str = "key") -> str:
    """``key`` if it may name a metric, a param or a tag.

    Raises:
        Invalid: it is empty, or would be another name if it were read as a path.
    """
    problem = _problem(key)
    if problem:
        raise Invalid(f"Invalid value \"{key[:300]}\" for parameter '{where}' supplied: {problem}")
    if len(key) > MAX_KEY:
        raise Invalid(f"'{where}' exceeds the maximum length of {MAX_KEY} characters")
    return key


def is_key(key: str) -> bool:
    """Whether ``checked_key`` would let ``key`` pass."""
    return not _problem(key) and len(key) <= MAX_KEY


# Few names, many times: the same metric is logged again and again.
@lru_cache(maxsize=8192)
def _problem(key: str) -> str:
    if not _KEY.fullmatch(key):
        return (
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:)"
            " and slashes (/)."
        )
    normal = posixpath.normpath(key)
    if normal != key or normal == "." or normal.startswith(("..", "/")):
        return (
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as such."
            f" This name would resolve to '{normal[:300]}'"
        )
    return ""


def checked_text(value: str, most: int, where: str) -> str:
    """``value`` if it is short enough, and text that every database keeps.

    Raises:
        Invalid: it is not.
    """
    if len(value) > most:
        raise Invalid(f"'{where}' exceeds the maximum length of {most} characters")
    if "\0" in value:
        raise Invalid(f"'{where}' holds a NUL character, which text may not")
    return value


def cut(value: str, most: int, where: str) -> str:
    """``value``, no longer than ``most``: what is longer MLflow cuts, and its autologgers rely on it.

    Raises:
        Invalid: it is text that not every database keeps.
    """
    return checked_text(value[:most], most, where)


def checked_time(value: int, where: str) -> int:
    """``value`` if it fits into 64 bits.

    Raises:
        Invalid: it does not.
    """
    if not -LONG - 1 <= value <= LONG:
        raise Invalid(f"'{where}' is {value}, which is out of the range of 64 bits")
    return value
