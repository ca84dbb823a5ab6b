from __future__ import annotations


def measure(programs, folder, env, runs, wide):  # type: ignore
    return []
