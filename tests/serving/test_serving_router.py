"""Assignment is sticky, fair, and only ever grows with the weight."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from windlass.domain.routing import Arm, Route
from windlass.serving.router import assign, share_of, user_hash

weights = st.floats(0, 1)


@given(st.text(), st.text(max_size=20), weights, weights)
def test_ramping_up_only_adds_users(user: str, salt: str, one: float, two: float) -> None:
    low, high = sorted((one, two))
    if assign(Route(stable="a", candidate="b", weight=low, salt=salt), user)[0] is Arm.CANDIDATE:
        assert assign(Route(stable="a", candidate="b", weight=high, salt=salt), user)[0] is Arm.CANDIDATE


@given(st.text())
def test_the_ends_of_the_scale_are_exact(user: str) -> None:
    assert assign(Route(stable="a", candidate="b", weight=0.0), user)[0] is Arm.STABLE
    assert assign(Route(stable="a", candidate="b", weight=1.0), user)[0] is Arm.CANDIDATE
    assert assign(Route(stable="a"), user)[0] is Arm.STABLE


def test_the_share_is_the_weight_and_each_salt_spreads_afresh() -> None:
    users = [f"user-{i}" for i in range(20_000)]
    chosen = {salt: {user for user in users if share_of(salt, user) < 0.05} for salt in ("one", "two")}
    for share in chosen.values():
        assert abs(len(share) / len(users) - 0.05) < 0.006
    assert len(chosen["one"] & chosen["two"]) < 100


def test_the_log_does_not_hold_the_key() -> None:
    assert user_hash("alice@example.org") == user_hash("alice@example.org") != user_hash("bob")
    assert "alice" not in user_hash("alice@example.org")
