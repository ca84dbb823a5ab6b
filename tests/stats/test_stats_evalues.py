"""The e-processes keep their promise, and find what they are for."""

from __future__ import annotations

from math import comb, log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.stats import evalues
from windlass.stats.evalues import MeanTest, RateTest, RatioTest, SharesTest

counts = st.tuples(st.integers(1, 50), st.integers(1, 500)).flatmap(
    lambda users: st.tuples(
        st.just(users[0]), st.integers(0, users[0]), st.just(users[1]), st.integers(0, min(20, users[1]))
    )
)
users = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=80)


def folded(test: RatioTest, given_blocks: Any) -> RatioTest:
    for c, k, s, m in given_blocks:
        test = test.update(candidates=c, candidate_hits=k, stables=s, stable_hits=m)
    return test


def test_before_any_evidence_e_is_one() -> None:
    values = [each.e_value for each in (RatioTest(), RateTest(0.01), MeanTest(0.02), SharesTest(0.1, 3))]
    assert values == pytest.approx([1.0] * 4)
    assert sum(evalues.RATIO_WEIGHTS) == pytest.approx(1.0)


@given(st.lists(counts, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_blocks_does_not_matter(blocks: list[tuple[int, int, int, int]], random: Any) -> None:
    shuffled = list(blocks)
    random.shuffle(shuffled)
    whole = folded(RatioTest(), blocks).e_value
    assert folded(RatioTest(), shuffled).e_value == pytest.approx(whole)
    if blocks:
        c, k, s, m = (np.array(each) for each in zip(*blocks, strict=True))
        at_once = RatioTest().update(candidates=c, candidate_hits=k, stables=s, stable_hits=m)
        assert at_once.e_value == pytest.approx(whole)


@given(counts)
def test_one_block_has_an_expectation_of_at_most_one_at_the_limit(block: tuple[int, int, int, int]) -> None:
    c, k, s, m = block
    hits = min(k + m, 12)
    theta = 1.25 * c / (1.25 * c + s)
    expected = sum(
        folded(RatioTest(), [(c, i, s, hits - i)]).e_value * comb(hits, i) * theta**i * (1 - theta) ** (hits - i)
        for i in range(hits + 1)
    )
    assert expected <= 1 + 1e-9


@given(st.integers(1, 30), st.integers(1, 60), st.data())
def test_users_dealt_by_chance_make_no_evidence_out_of_an_incident(c: int, s: int, data: Any) -> None:
    """Of c + s users some are hit, whoever answers them: how many are the candidate's is hypergeometric."""
    hits = data.draw(st.integers(0, min(12, c + s)))
    expected = sum(
        folded(RatioTest(), [(c, i, s, hits - i)]).e_value * comb(c, i) * comb(s, hits - i) / comb(c + s, hits)
        for i in range(max(0, hits - s), min(c, hits) + 1)
    )
    assert expected <= 1 + 1e-9


@given(st.floats(0.001, 0.3), st.floats(0, 0.5), st.integers(1, 5))
def test_no_stake_gains_while_the_candidate_is_worse_by_the_margin(margin: float, stable: float, group: int) -> None:
    worse = stable + margin
    start = MeanTest(-margin)
    expected = sum(
        np.exp(np.array(start.update([m / group - x]).logs))
        * (worse if x else 1 - worse) * comb(group, m) * stable**m * (1 - stable) ** (group - m)
        for x in (0, 1)
        for m in range(group + 1)
    )  # fmt: skip
    if worse <= 1:
        assert (expected <= 1 + 1e-9).all()


@given(st.floats(0.0, 0.2), st.floats(0.0, 0.3))
def test_a_sign_test_gains_nothing_while_losses_outnumber_wins_by_the_margin(margin: float, wins: float) -> None:
    start, losses = MeanTest(margin), wins + margin
    chances = {1: losses, -1: wins, 0: 1 - losses - wins}
    expected = sum(chance * np.exp(np.array(start.update([value]).logs)) for value, chance in chances.items())
    assert (expected <= 1 + 1e-9).all()


@given(st.floats(0.01, 0.3), st.floats(0.05, 0.6), st.booleans())
def test_shares_within_the_margin_make_no_evidence(margin: float, share: float, up: bool) -> None:
    mine = min(0.95, share + margin) if up else max(0.0, share - margin)
    expected = sum(
        SharesTest(margin, 2).update([[i - j, j - i]]).e_value * (mine if i else 1 - mine) * (share if j else 1 - share)
        for i in (0, 1)
        for j in (0, 1)
    )
    assert expected <= 1 + 1e-9


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=40))
def test_pairs_are_counted_as_they_are_one_by_one(pairs: list[tuple[int, int]]) -> None:
    eye = np.eye(3)
    one_by_one = SharesTest(0.1, 3).update(np.array([eye[a] - eye[b] for a, b in pairs]).reshape(-1, 3))
    differ = [(a, b) for a, b in pairs if a != b]
    mine, theirs = (np.bincount([pair[side] for pair in differ], minlength=3) for side in (0, 1))
    counted = SharesTest(0.1, 3).update_pairs(len(pairs), mine, theirs)
    assert counted.n == one_by_one.n
    assert counted.e_value == pytest.approx(one_by_one.e_value)


@given(users, st.integers(0, 80), st.integers(1, 12))
def test_blocks_do_not_depend_on_where_the_log_was_cut(seen: list[tuple[bool, bool]], cut: int, size: int) -> None:
    candidate, hit = ([each[i] for each in seen] for i in (0, 1))
    whole, left = evalues.blocks(candidate, hit, (0, 0, 0, 0), size)
    first, rest = evalues.blocks(candidate[:cut], hit[:cut], (0, 0, 0, 0), size)
    second, rest = evalues.blocks(candidate[cut:], hit[cut:], rest, size)
    assert np.concatenate([first, second]).tolist() == whole.tolist()
    assert rest == left
    assert all(min(c, s) == size and k <= c and m <= s for c, k, s, m in whole)
    total = whole.sum(axis=0) + np.array(left)
    assert total.tolist() == [
        sum(candidate), sum(c and h for c, h in seen), len(seen) - sum(candidate), sum(h and not c for c, h in seen)
    ]  # fmt: skip


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1)), max_size=40), st.integers(0, 40))
def test_stable_users_are_paired_once_wherever_the_log_was_cut(seen: list[tuple[bool, int]], cut: int) -> None:
    expected, waiting = [], list[int]()
    for candidate, value in seen:
        if candidate:
            expected.append(np.mean(waiting) if waiting else np.nan)
            waiting = []
        else:
            waiting.append(value)

    def means(part: list[tuple[bool, int]], before: tuple[int, Any]) -> tuple[Any, tuple[int, Any]]:
        return evalues.fresh_means([each[0] for each in part], [each[1] for each in part], before)

    first, left = means(seen[:cut], (0, 0.0))
    second, left = means(seen[cut:], left)
    np.testing.assert_allclose(np.concatenate([first, second]), expected)
    assert left == (len(waiting), sum(waiting))


def test_a_candidate_without_errors_earns_its_step() -> None:
    for margin in (0.01, 0.02, 0.05):
        test, alpha = MeanTest(-margin), 0.05
        needed = test.needed(alpha)
        assert needed is not None
        assert log(1 / alpha) / margin <= needed <= 2.2 * log(1 / alpha) / margin
        assert test.update([0.0] * needed).e_value >= 1 / alpha
        assert test.update([0.0] * (needed - 1)).e_value < 1 / alpha


def test_a_candidate_that_keeps_failing_is_never_said_to_be_nearly_there() -> None:
    assert MeanTest(-0.02).update([-(i % 4 == 0) for i in range(200)]).needed(0.05) is None


def ever(rng: np.random.Generator, weight: float, rates: Any, alpha: float) -> int | None:
    """After how many candidate users E first reached 1/alpha; ``rates`` of (candidate, stable) in each part."""
    test, left, seen = RatioTest(), (0, 0, 0, 0), 0
    for pair in rates:
        for _ in range(50):
            candidate = rng.random(400) < weight
            filled, left = evalues.blocks(candidate, rng.random(400) < np.where(candidate, *pair), left, 10)
            if len(filled):
                c, k, s, m = filled.T
                test = test.update(candidates=c, candidate_hits=k, stables=s, stable_hits=m)
            seen += int(candidate.sum())
            if test.e_value >= 1 / alpha:
                return seen
    return None


def test_innocent_candidates_are_rolled_back_at_most_as_often_as_promised() -> None:
    rng = np.random.default_rng(1)
    quiet, loud = (0.01, 0.01), (0.3, 0.3)
    false = sum(ever(rng, 0.05, [quiet, loud if i % 2 else quiet], 0.05) is not None for i in range(300))
    assert false / 300 <= 0.05


def test_harm_is_found_from_few_candidate_users() -> None:
    rng = np.random.default_rng(2)
    found = [ever(rng, 0.05, [(0.034, 0.0)] * 4, 0.05 / 3) for _ in range(50)]
    assert all(found)
    assert np.median([each for each in found if each]) <= 300


def test_a_rate_above_the_limit_is_found_and_one_below_is_not() -> None:
    rng = np.random.default_rng(3)

    def reached(rate: float) -> bool:
        test = RateTest(0.01)
        for _ in range(50):
            test = test.update(users=100, hits=int(rng.binomial(100, rate)))
            if test.e_value >= 20:
                return True
        return False

    assert sum(reached(0.05) for _ in range(50)) == 50
    assert sum(reached(0.01) for _ in range(200)) <= 10


def test_a_harmful_candidate_is_promoted_at_most_as_often_as_promised() -> None:
    rng = np.random.default_rng(4)
    promoted = 0
    for _ in range(400):
        test = MeanTest(-0.03)
        for _ in range(20):
            test = test.update(rng.binomial(4, 0.02, 50) / 4 - rng.binomial(1, 0.05, 50))
            if test.e_value >= 20:
                promoted += 1
                break
    assert promoted / 400 <= 0.05


def test_a_candidate_as_faulty_as_the_stable_release_is_promoted() -> None:
    rng = np.random.default_rng(5)
    values = rng.binomial(4, 0.02, 1500) / 4 - rng.binomial(1, 0.02, 1500)
    assert MeanTest(-0.03).update(values).e_value >= 20
