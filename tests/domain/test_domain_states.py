import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain.errors import Conflict
from windlass.domain.states import ROLLOUT, RolloutEvent, RolloutState

END = {RolloutState.PROMOTED, RolloutState.ROLLED_BACK, RolloutState.ABORTED, RolloutState.FAILED}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(RolloutState, RolloutEvent)))
def test_every_pair_either_leads_somewhere_or_is_a_conflict_that_says_what_can_be_done(
    state: RolloutState, event: RolloutEvent
) -> None:
    if (state, event) in ROLLOUT.table:
        assert ROLLOUT.next(state, event) in RolloutState
    else:
        with pytest.raises(Conflict) as raised:
            ROLLOUT.next(state, event)
        assert raised.value.hint


def test_a_rollout_ends_exactly_in_its_end_states() -> None:
    assert {state for state in RolloutState if ROLLOUT.ends(state)} == END


def test_every_state_can_be_reached_and_can_end() -> None:
    reached = {RolloutState.PLANNED}
    while more := {to for (state, _), to in ROLLOUT.table.items() if state in reached} - reached:
        reached |= more
    assert reached == set(RolloutState)


@given(st.lists(st.sampled_from(RolloutEvent), max_size=30))
def test_no_sequence_of_events_promotes_a_rollout_that_was_never_ready(events: list[RolloutEvent]) -> None:
    state, ready = RolloutState.PLANNED, False
    for event in events:
        if (state, event) in ROLLOUT.table:
            state = ROLLOUT.next(state, event)
            ready = ready or event is RolloutEvent.READY
    assert ready or state is not RolloutState.PROMOTED
