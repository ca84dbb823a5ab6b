"""The e-processes keep their promise, and find what they are for."""

from __future__ import annotations

import json
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.stats import evalues
from windlass.stats.evalues import NonInferiority, RateTest, RatioTest

counts = st.tuples(st.integers(1, 50), st.integers(1, 500)).flatmap(
    lambda users: st.tuples(
        st.just(users[0]), st.integers(0, users[0]), st.just(users[1]), st.integers(0, min(20, users[1]))
    )
)


def folded(test: RatioTest, intervals: list[tuple[int, int, int, int]]) -> RatioTest:
    for c, k, s, m in intervals:
        test = test.update(candidates=c, candidate_errors=k, stables=s, stable_errors=m)
    return test


def test_before_any_evidence_e_is_one() -> None:
    assert RatioTest().e_value == RateTest(0.01).e_value == NonInferiority(0.02).e_value == 1.0


@given(st.lists(counts, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_intervals_does_not_matter(intervals: list[tuple[int, int, int, int]], random: object) -> None:
    shuffled = list(intervals)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert folded(RatioTest(), shuffled).e_value == pytest.approx(folded(RatioTest(), intervals).e_value)


@given(counts)
def test_one_interval_has_an_expectation_of_at_most_one_at_the_limit(interval: tuple[int, int, int, int]) -> None:
    c, k, s, m = interval
    errors = min(k + m, 12)
    theta = 1.25 * c / (1.25 * c + s)
    expected = sum(
        RatioTest().update(candidates=c, candidate_errors=i, stables=s, stable_errors=errors - i).e_value
        * float(np.prod([(errors - j) / (j + 1) for j in range(i)])) * theta**i * (1 - theta) ** (errors - i)
        for i in range(errors + 1)
    )  # fmt: skip
    assert expected <= 1 + 1e-9


@given(st.floats(0.001, 0.3), st.floats(0, 0.5), st.integers(1, 5))
def test_no_stake_gains_while_the_candidate_is_worse_by_the_margin(margin: float, stable: float, group: int) -> None:
    worse = min(1.0, stable + margin)
    start = NonInferiority(margin)
    gains = {(x, m): np.exp(np.array(start.update([(x, m / group)]).logs)) for x in (0, 1) for m in range(group + 1)}
    choose = [float(np.prod([(group - j) / (j + 1) for j in range(m)])) for m in range(group + 1)]
    expected = sum(
        gains[x, m] * (worse if x else 1 - worse) * choose[m] * stable**m * (1 - stable) ** (group - m)
        for x in (0, 1)
        for m in range(group + 1)
    )
    if stable + margin <= 1:
        assert (expected <= 1 + 1e-9).all()


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), max_size=30))
def test_states_survive_json(errors: list[tuple[int, float]]) -> None:
    test = NonInferiority(0.03).update(errors)
    again = evalues.non_inferiority(json.loads(json.dumps(evalues.to_plain(test))))
    assert again == test
    assert evalues.ratio_test(json.loads(json.dumps(evalues.to_plain(RatioTest(2.0))))) == RatioTest(2.0)
    assert evalues.rate_test(json.loads(json.dumps(evalues.to_plain(RateTest(0.1))))) == RateTest(0.1)


def test_a_candidate_without_errors_earns_its_step() -> None:
    for margin in (0.01, 0.02, 0.05):
        test, alpha = NonInferiority(margin), 0.05
        needed = test.needed(alpha)
        assert needed is not None
        assert log(1 / alpha) / margin <= needed <= 2.2 * log(1 / alpha) / margin
        assert test.update([(0, 0.0)] * needed).e_value >= 1 / alpha
        assert test.update([(0, 0.0)] * (needed - 1)).e_value < 1 / alpha


def test_a_candidate_that_keeps_failing_is_never_said_to_be_nearly_there() -> None:
    assert NonInferiority(0.02).update([(i % 4 == 0, 0.0) for i in range(200)]).needed(0.05) is None


def stream(rng: np.random.Generator, weight: float, rates: tuple[float, float], users: int) -> list[tuple[int, ...]]:
    """Intervals of 200 users: (c, k, s, m)."""
    found = []
    for _ in range(users // 200):
        c = int(rng.binomial(200, weight))
        found.append((c, int(rng.binomial(c, rates[0])), 200 - c, int(rng.binomial(200 - c, rates[1]))))
    return found


def ever(intervals: list[tuple[int, ...]], alpha: float) -> int | None:
    """After how many candidate users E first reached 1/alpha."""
    test, seen = RatioTest(), 0
    for c, k, s, m in intervals:
        test = test.update(candidates=c, candidate_errors=k, stables=s, stable_errors=m)
        seen += c
        if test.e_value >= 1 / alpha:
            return seen
    return None


def test_innocent_candidates_are_rolled_back_at_most_as_often_as_promised() -> None:
    rng = np.random.default_rng(1)
    false = 0
    for trial in range(400):
        # Every other trial an incident hits both arms half-way.
        quiet = stream(rng, 0.05, (0.01, 0.01), 10_000)
        loud = stream(rng, 0.05, (0.3, 0.3) if trial % 2 else (0.01, 0.01), 10_000)
        false += ever(quiet + loud, 0.05) is not None
    assert false / 400 <= 0.05


def test_harm_is_found_from_few_candidate_users() -> None:
    rng = np.random.default_rng(2)
    found = [ever(stream(rng, 0.05, (0.034, 0.0), 40_000), 0.05 / 3) for _ in range(50)]
    assert all(found)
    assert np.median([each for each in found if each]) <= 300
    doubled = [ever(stream(rng, 0.25, (0.02, 0.01), 60_000), 0.05) for _ in range(50)]
    assert sum(each is not None for each in doubled) >= 49
    assert np.median([each for each in doubled if each]) <= 3000


def test_a_rate_above_the_limit_is_found_and_one_below_is_not() -> None:
    rng = np.random.default_rng(3)

    def reached(rate: float) -> bool:
        test = RateTest(0.01)
        for _ in range(50):
            test = test.update(users=100, errors=int(rng.binomial(100, rate)))
            if test.e_value >= 20:
                return True
        return False

    assert sum(reached(0.05) for _ in range(50)) == 50
    assert sum(reached(0.01) for _ in range(200)) <= 10


def test_a_harmful_candidate_is_promoted_at_most_as_often_as_promised() -> None:
    rng = np.random.default_rng(4)
    promoted = 0
    for _ in range(400):
        test = NonInferiority(0.03)
        for _ in range(20):
            pairs = zip(rng.binomial(1, 0.05, 50), rng.binomial(4, 0.02, 50) / 4, strict=True)
            test = test.update([(float(x), float(m)) for x, m in pairs])
            if test.e_value >= 20:
                promoted += 1
                break
    assert promoted / 400 <= 0.05


def test_a_candidate_as_faulty_as_the_stable_release_is_promoted() -> None:
    rng = np.random.default_rng(5)
    test = NonInferiority(0.03)
    pairs = zip(rng.binomial(1, 0.02, 1500), rng.binomial(4, 0.02, 1500) / 4, strict=True)
    assert test.update([(float(x), float(m)) for x, m in pairs]).e_value >= 20
