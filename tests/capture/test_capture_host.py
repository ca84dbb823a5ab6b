"""Facts of the host, and what differs between two."""

from __future__ import annotations

import json

import numpy as np

from windlass.capture import host


def test_the_facts_are_plain_and_those_that_explain_a_difference() -> None:
    facts = host.facts()
    assert {"system", "kernel", "cpu", "cpu_features", "cores", "libc"} <= facts.keys()
    assert json.loads(json.dumps(facts)) == facts


def test_the_libraries_say_which_code_they_chose_for_the_processor() -> None:
    np.ones((10, 10)) @ np.ones((10, 10))
    found = host.libraries()
    blas = next(each for each in found if "blas" in each["library"])
    assert blas["kernel"]
    assert blas["version"]
    assert blas["threads"] >= 1


def test_differences_are_told_by_line() -> None:
    old = {"kernel": "6.1", "cpu": "one", "gpu": ["a"]}
    assert host.compare(old, old) == []
    assert host.compare(old, {"kernel": "6.2", "cpu": "one"}) == ["gpu: ['a'] -> not known", "kernel: 6.1 -> 6.2"]
