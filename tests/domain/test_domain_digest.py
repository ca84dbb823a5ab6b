from dataclasses import dataclass
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain import digest
from windlass.domain.errors import Invalid

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), plain, max_size=6))
def test_the_order_of_keys_does_not_change_a_digest(value: dict[str, object]) -> None:
    assert digest.of(value) == digest.of(dict(reversed(list(value.items()))))


@given(plain)
def test_a_digest_has_the_form_that_is_checked(value: object) -> None:
    assert digest.checked(digest.of(value)) == digest.of(value)


def test_the_canonical_encoding_is_the_one_released() -> None:
    class Colour(StrEnum):
        RED = "red"

    @dataclass
    class Thing:
        b: int
        a: tuple[float, ...]
        colour: Colour

    encoded = digest.canonical(Thing(b=1, a=(0.1, 2.0), colour=Colour.RED))
    assert encoded == b'{"a":[0.1,2.0],"b":1,"colour":"red"}'
    assert digest.of_bytes(encoded) == "b3:01e4f8eb198ae66b20cfc87b0af07b6fa505da19137adc2234fc88bd29c2f20e"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", {1, 2}, object()])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(Invalid):
        digest.canonical({"value": value})


@pytest.mark.parametrize("text", ["", "b3:", "../../etc/passwd", "b3:" + "g" * 64, "b3:" + "a" * 65, "b3:" + "A" * 64])
def test_what_is_no_digest_never_becomes_a_path(text: str) -> None:
    with pytest.raises(Invalid):
        digest.checked(text)
