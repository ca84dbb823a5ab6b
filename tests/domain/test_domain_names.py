import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain import clock, names
from windlass.domain.errors import Invalid
from windlass.domain.names import Reference, SemVer

number = st.integers(min_value=0, max_value=10**9 - 1)


@given(number, number, number)
def test_a_semver_survives_being_written_and_read(major: int, minor: int, patch: int) -> None:
    version = SemVer(major, minor, patch)
    assert SemVer.parse(str(version)) == version


@given(st.tuples(number, number, number), st.tuples(number, number, number))
def test_semvers_are_ordered_by_their_parts(a: tuple[int, int, int], b: tuple[int, int, int]) -> None:
    assert (SemVer(*a) < SemVer(*b)) == (a < b)


@pytest.mark.parametrize("text", ["1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "v1.2.3", "", "1.2.3-rc1", "-1.0.0"])
def test_what_is_no_semver_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        SemVer.parse(text)


@pytest.mark.parametrize("text", ["", "1a", "a/b", "../a", "a b", "a" * 65, "a\n", "a@1", "é"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        names.checked(text)


@pytest.mark.parametrize(("text", "parsed"), [("m", ("m", None)), ("m@1.2.3", ("m", "1.2.3")), ("m@7", ("m", "7"))])
def test_references(text: str, parsed: tuple[str, str | None]) -> None:
    reference = Reference.parse(text)
    assert (reference.name, reference.version) == parsed
    assert str(reference) == text


@pytest.mark.parametrize("text", ["m@", "m@../x", "@1", "m@1@2", "m@1/2"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Reference.parse(text)


@given(st.integers(min_value=0, max_value=4_000_000_000_000_000))
def test_an_instant_survives_being_written_and_read(instant: int) -> None:
    assert clock.parse(clock.text_of(instant)) == instant


def test_a_time_without_offset_is_utc() -> None:
    assert clock.parse("1970-01-01T00:00:01") == clock.parse("1970-01-01T01:00:01+01:00") == 1_000_000
