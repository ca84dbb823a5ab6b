"""The prediction log: what is appended is read once, whole and in one order, whatever ends or fails meanwhile."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.domain.errors import Corrupt, Failure, Invalid, NotFound, Unavailable
from windlass.domain.routing import Arm, LogPolicy, strictest
from windlass.serving.log import START, Mark, Position, Writer, earliest, end, read, redacting, segments
from windlass.serving.log.segments import FRAME, HEADER
from windlass.serving.record import Prediction, Record, Shadow


def prediction(number: int, *, at: int | None = None, **changes: Any) -> Prediction:
    said: dict[str, Any] = {
        "id": f"{number:024x}", "at": number if at is None else at, "endpoint": "e", "revision": 1, "rollout": None,
        "release": "b3:one", "arm": Arm.STABLE, "user": "u", "rows": [{"x": number, "name": f"n{number}"}],
        "answers": [{"prediction": 1, "probability": 0.5}], "status": 200, "user_status": 200, "error": "",
        "latency_us": 9, "answered_by": "b3:one",
    }  # fmt: skip
    return Prediction(**{**said, **changes})


def shadow(number: int, *, at: int, **changes: Any) -> Shadow:
    said: dict[str, Any] = {
        "id": f"{number:024x}", "at": at, "endpoint": "e", "rollout": "r", "release": "b3:two", "user": "u",
        "status": 200, "answers": [{"prediction": 0}], "error": "", "latency_us": 9,
    }  # fmt: skip
    return Shadow(**{**said, **changes})


def numbers(records: list[Record]) -> list[int]:
    return [int(each.id, 16) for each in records]


def write(folder: Path, *records: Record, **options: Any) -> None:
    with Writer(folder, **options) as writer:
        for each in records:
            assert writer.append(each)


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    sent = [prediction(1), shadow(1, at=2), prediction(3, answers=None, rollout="r", error="é", status=500)]
    write(tmp_path, *sent)
    found, position = read(tmp_path)
    assert found == sent
    assert read(tmp_path, position) == ([], position)
    assert position == end(tmp_path)


def test_of_nothing_there_is_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "none") == ([], START)
    assert end(tmp_path / "none") == START
    write(tmp_path)
    assert read(tmp_path) == ([], START)


def test_positions_are_written_and_read(tmp_path: Path) -> None:
    write(tmp_path, prediction(1), name="gateway-1")
    write(tmp_path, prediction(2), name="gateway-0")
    _, position = read(tmp_path)
    text = str(position)
    assert text.startswith("gateway-0=1:") and ",gateway-1=1:" in text
    assert Position.parse(text) == position
    assert Position.parse("3:120") == Position({"": Mark(3, 120)}) and str(Position.parse("3:120")) == "3:120"
    assert Position.parse("") == Position.parse("0:0") == START and str(START) == "0:0"


@pytest.mark.parametrize("text", ["x", "1", "1:", ":1", "-1:2", "a=1:2,a=1:3", "=1:2", "../x=1:2", "1:2,,", "²:1"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not a position"):
        Position.parse(text)


def test_positions_are_ordered_as_far_as_writers_agree() -> None:
    one, two = Position({"a": Mark(1, 5)}), Position({"a": Mark(1, 5), "b": Mark(1, 1)})
    other = Position({"a": Mark(2, 0)})
    assert START < one < two and other > START and not two <= other and not other <= two
    same = Position.parse(str(two))
    assert two > one and two >= same and not two < same
    assert earliest([two, other]) == Position({"a": Mark(1, 5)})
    assert earliest([one]) == one and earliest([]) == START


@pytest.mark.parametrize("name", ["", "a=b", "a,b", "a:b", "../a", "x" * 65])
def test_a_writers_name_must_fit_a_position(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match="no name for a writer"):
        Writer(tmp_path, name)


def test_one_writer_a_name(tmp_path: Path) -> None:
    with Writer(tmp_path), Writer(tmp_path, "gateway-1"), pytest.raises(Unavailable, match="another process"):
        Writer(tmp_path)


def test_a_log_from_before_there_were_several_writers_is_read_on(tmp_path: Path) -> None:
    write(tmp_path / "made", prediction(1), prediction(2))
    (tmp_path / "log").mkdir()
    (tmp_path / "made" / "gateway-0" / "000001.log").rename(tmp_path / "log" / "000001.log")
    found, position = read(tmp_path / "log", limit=1)
    assert numbers(found) == [1] and str(position).startswith("1:")
    write(tmp_path / "log", prediction(3))
    found, position = read(tmp_path / "log", position)
    assert numbers(found) == [2, 3] and str(position).startswith("1:") and ",gateway-0=1:" in str(position)


def test_the_order_is_that_of_time_whoever_wrote(tmp_path: Path) -> None:
    write(tmp_path, prediction(5), prediction(2), shadow(2, at=2), name="b")
    write(tmp_path, prediction(4), prediction(1), prediction(3), name="a")
    found, _ = read(tmp_path)
    assert [(each.at, type(each)) for each in found] == [
        (1, Prediction), (2, Prediction), (2, Shadow), (3, Prediction), (4, Prediction), (5, Prediction),
    ]  # fmt: skip


def test_of_a_limit_no_writer_is_read_far_ahead(tmp_path: Path) -> None:
    write(tmp_path, *(prediction(n) for n in range(0, 20, 2)), name="a")
    write(tmp_path, *(prediction(n) for n in range(1, 20, 2)), name="b")
    found, position = read(tmp_path, limit=7)
    assert numbers(found) == list(range(7))
    rest, _ = read(tmp_path, position)
    assert numbers(rest) == list(range(7, 20))


def test_a_writer_that_appears_later_is_read_from_its_beginning(tmp_path: Path) -> None:
    write(tmp_path, prediction(1), name="a")
    _, first = read(tmp_path)
    write(tmp_path, prediction(2), name="a")
    write(tmp_path, prediction(3), name="b")
    found, second = read(tmp_path, first)
    assert numbers(found) == [2, 3]
    write(tmp_path, prediction(0), name="c")
    assert numbers(read(tmp_path, first, until=second)[0]) == [2, 3]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from(["a", "b"]), st.integers(0, 30)),
        st.tuples(st.just("restart"), st.sampled_from(["a", "b"]), st.just(0)),
        st.tuples(st.just("read"), st.just(""), st.sampled_from([0, 1, 2, 5])),
    ),
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, segment_bytes=st.sampled_from([1, 400, 1 << 20]))
def test_each_record_is_read_once_and_again_in_the_same_order(
    steps: list[tuple[str, str, int]], segment_bytes: int
) -> None:
    """Any interleaving of two writers and a reader; records may have the same time, and come in any order."""
    with TemporaryDirectory() as made, ExitStack() as stack:
        folder, sent, position = Path(made), 0, START
        intervals: list[tuple[Position, Position, list[Record]]] = []
        writers: dict[str, Writer] = {}

        def take(limit: int | None) -> None:
            nonlocal position
            found, after = read(folder, position, limit)
            assert position <= after and (bool(found) == (position < after))
            intervals.append((position, after, found))
            position = Position.parse(str(after))

        for what, name, number in steps:
            if what == "restart" and name in writers:
                writers.pop(name).close()
            elif what == "append":
                if name not in writers:
                    writers[name] = stack.enter_context(Writer(folder, name, segment_bytes=segment_bytes))
                sent += 1
                assert writers[name].append(prediction(sent, at=number))
            elif what == "read":
                assert all(writer.flush() for writer in writers.values())
                take(number or None)
        for writer in writers.values():
            writer.close()
        take(None)
        assert sorted(number for _, _, found in intervals for number in numbers(found)) == list(range(1, sent + 1))
        for after, until, found in intervals:
            assert read(folder, after, until=until) == (found, until)


def test_a_segment_of_its_size_is_followed_by_another(tmp_path: Path) -> None:
    with Writer(tmp_path, segment_bytes=300) as writer:
        for number in range(6):
            writer.append(prediction(number))
            assert writer.flush()
    assert len(segments(tmp_path / "gateway-0")) > 2
    assert numbers(read(tmp_path)[0]) == list(range(6))


def test_an_old_segment_is_followed_by_another(tmp_path: Path) -> None:
    with Writer(tmp_path, segment_seconds=0.0) as writer:
        for number in range(3):
            writer.append(prediction(number))
            assert writer.flush()
    assert len(segments(tmp_path / "gateway-0")) == 3


def torn(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_torn_tail_is_left_alone(tmp_path: Path, cut: int) -> None:
    write(tmp_path, *(prediction(number) for number in range(3)))
    (segment,) = segments(tmp_path / "gateway-0")
    torn(segment.path, segment.path.stat().st_size - cut)
    found, position = read(tmp_path)
    assert numbers(found) == [0, 1]
    assert end(tmp_path) == position
    write(tmp_path, prediction(7))  # a writer never appends to it
    assert numbers(read(tmp_path, position)[0]) == [7]


@pytest.mark.parametrize("size", [0, 5, HEADER.size])
def test_a_torn_header_is_left_alone(tmp_path: Path, size: int) -> None:
    write(tmp_path, prediction(1))
    torn(segments(tmp_path / "gateway-0")[0].path, size)
    assert read(tmp_path)[0] == []
    position = end(tmp_path)
    write(tmp_path, prediction(2))
    assert numbers(read(tmp_path, position)[0]) == [2]


@pytest.mark.parametrize("zeros", [1, 8, 500])
def test_a_tail_that_grew_and_did_not_arrive_is_torn(tmp_path: Path, zeros: int) -> None:
    write(tmp_path, prediction(1))
    (segment,) = segments(tmp_path / "gateway-0")
    with segment.path.open("ab") as file:
        file.write(bytes(zeros))
    found, position = read(tmp_path)
    assert numbers(found) == [1] and end(tmp_path) == position


def test_every_damaged_byte_is_found(tmp_path: Path) -> None:
    """Whichever byte is turned over, no reader is told something that was not written."""
    sent = [prediction(number, rows=[{"x": number}]) for number in range(3)]
    write(tmp_path, *sent)
    (segment,) = segments(tmp_path / "gateway-0")
    whole = segment.path.read_bytes()
    damaged = 0
    reserved = range(12, HEADER.size)  # of the header, for later formats
    for at in set(range(len(whole))) - set(reserved):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        segment.path.write_bytes(broken)
        try:
            found, _ = read(tmp_path)
        except Corrupt as error:
            damaged += 1
            assert str(segment.path) in error.message
        else:
            assert found == sent[: len(found)] and len(found) < len(sent)
    assert damaged > len(whole) // 2


def test_a_record_of_another_form_is_damage(tmp_path: Path) -> None:
    import zlib

    write(tmp_path, prediction(1))
    (segment,) = segments(tmp_path / "gateway-0")
    with segment.path.open("ab") as file:
        file.write(FRAME.pack(1, zlib.crc32(b"\x07")) + b"\x07")
    with pytest.raises(Corrupt, match="damaged"):
        read(tmp_path)


def test_a_segment_of_a_later_format_is_not_guessed_at(tmp_path: Path) -> None:
    write(tmp_path, prediction(1))
    (segment,) = segments(tmp_path / "gateway-0")
    segment.path.write_bytes(HEADER.pack(b"WNDLLOG\n", 9, 0) + segment.path.read_bytes()[HEADER.size :])
    with pytest.raises(Corrupt, match="no prediction log of format 1"):
        read(tmp_path)


def test_an_interval_whose_segments_are_gone_is_not_read_as_if_it_were_whole(tmp_path: Path) -> None:
    with Writer(tmp_path, segment_bytes=1) as writer:
        for number in range(4):
            writer.append(prediction(number))
            writer.flush()
    _, until = read(tmp_path)
    segments(tmp_path / "gateway-0")[1].path.unlink()
    with pytest.raises(NotFound, match="not all there") as refused:
        read(tmp_path, until=until)
    assert "keep_days" in refused.value.hint
    assert numbers(read(tmp_path)[0]) == [0, 2, 3]  # who follows the log goes on with what there is


def test_a_reader_sees_only_whole_records_while_two_write(tmp_path: Path) -> None:
    def fill(name: str, start: int) -> None:
        with Writer(tmp_path, name, segment_bytes=20_000) as writer:
            for number in range(start, start + 4000):
                assert writer.append(prediction(number))

    threads = [threading.Thread(target=fill, args=args) for args in (("a", 0), ("b", 10_000))]
    for each in threads:
        each.start()
    found, position = list[Record](), START
    while any(each.is_alive() for each in threads):
        new, position = read(tmp_path, position, 500)
        found += new
    for each in threads:
        each.join()
    found += read(tmp_path, position)[0]
    assert sorted(numbers(found)) == [*range(4000), *range(10_000, 14_000)]


KILLED = """
import sys
from pathlib import Path
from windlass.serving.log import Writer
sys.path.insert(0, sys.argv[2])
from test_serving_log import prediction
writer, number = Writer(Path(sys.argv[1])), int(sys.argv[3])
while True:
    number += 1
    writer.append(prediction(number))
    if number % 50 == 0 and writer.flush():
        print(number, flush=True)
"""


def test_what_was_flushed_survives_the_writer_being_killed(tmp_path: Path) -> None:
    flushed = 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent), str(flushed)],
            stdout=subprocess.PIPE, text=True,
        ) as writer:  # fmt: skip
            assert writer.stdout is not None
            for _ in range(3):
                flushed = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
        found = numbers(read(tmp_path)[0])
        assert set(range(1, flushed + 1)) <= set(found)
        flushed = max(found)
    assert len(segments(tmp_path / "gateway-0")) == 3
    assert sorted(found) == sorted(set(found))


def test_what_does_not_fit_into_the_queue_is_counted(tmp_path: Path) -> None:
    with Writer(tmp_path, policy=LogPolicy(queue_bytes=1000)) as writer:
        taken = [writer.append(prediction(number), 600) for number in range(2)]
        assert taken == [True, False]
        assert writer.dropped == 1 and writer.lost_at
        assert writer.flush() and writer.append(prediction(3), 600)
    assert writer.written == 2


def test_what_msgpack_cannot_hold_is_counted(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.append(prediction(1, rows=[{"x": 1 << 70}]))
        writer.append(prediction(2))
        assert writer.flush()
        assert (writer.written, writer.dropped) == (1, 1)


class Waiting:
    """Who waits for the disk."""

    def __init__(self) -> None:
        self.told: list[bool] = []
        self._event = threading.Event()

    def __call__(self, is_safe: bool) -> None:
        self.told.append(is_safe)
        self._event.set()

    def wait(self) -> bool:
        assert self._event.wait(20)
        return self.told[0]


def test_who_waits_is_told_once_after_the_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    really = os.fsync

    def counted(handle: int) -> None:
        really(handle)
        synced.append(os.fstat(handle).st_size)

    with Writer(tmp_path, sync_seconds=1000) as writer:
        writer.append(prediction(0))
        assert writer.flush()
        monkeypatch.setattr(os, "fsync", counted)
        waiting = [Waiting() for _ in range(50)]
        for number, each in enumerate(waiting, start=1):
            assert writer.append(prediction(number), 512, each)
        assert all(each.wait() for each in waiting)
        assert synced and synced[-1] == segments(tmp_path / "gateway-0")[0].path.stat().st_size
        assert len(synced) < 50  # those who wait at the same time share one
    assert all(each.told == [True] for each in waiting)


def test_a_failing_sync_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(5, "Input/output error")

    with Writer(tmp_path) as writer:
        writer.append(prediction(0))
        assert writer.flush()
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", fails)
            waiting = Waiting()
            assert writer.append(prediction(1), 512, waiting)
            assert waiting.wait() is False
            assert writer.lost_at
        until_well(writer)
        well = Waiting()
        assert writer.append(prediction(2), 512, well)
        assert well.wait() is True


def until_well(writer: Writer) -> None:
    """The thread finds out by itself, with nothing appended."""
    pause = threading.Event()
    for _ in range(400):
        if not writer.error:
            return
        pause.wait(0.05)
    raise AssertionError(writer.error)


def files_up_to(size: int) -> Callable[[], None]:
    """Files cannot grow beyond ``size``: a write stops short, as on a disk that is full. Undone by what is returned."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_a_full_disk_loses_is_counted_to_the_record(tmp_path: Path) -> None:
    """A write that stops in the middle of a batch: what arrived is there once, the rest is counted."""
    with Writer(tmp_path) as writer:
        undo = files_up_to(1000)
        try:
            for number in range(20):
                writer.append(prediction(number))
            assert writer.flush()
        finally:
            undo()
        assert writer.error and writer.lost_at
        there = numbers(read(tmp_path)[0])
        assert 0 < len(there) < 20 and there == list(range(len(there)))
        assert (writer.written, writer.dropped) == (len(there), 20 - len(there))
        until_well(writer)
        writer.append(prediction(50))
        assert writer.flush() and not writer.error
    assert numbers(read(tmp_path)[0]) == [*there, 50]


def test_a_full_disk_holds_back_what_must_not_be_lost(tmp_path: Path) -> None:
    with Writer(tmp_path, policy=LogPolicy(when_full="refuse", queue_bytes=20 * 512)) as writer:
        undo = files_up_to(1000)
        try:
            assert all(writer.append(prediction(number)) for number in range(20))
            assert writer.flush()
            held = 20 - writer.written
            assert held and writer.dropped == 0 and writer.error
            taken = sum(writer.append(prediction(number)) for number in range(20, 60))
            assert taken == 20 - held and writer.dropped == 40 - taken
        finally:
            undo()
        until_well(writer)
        assert writer.flush()
    assert numbers(read(tmp_path)[0]) == list(range(20 + taken))


def test_a_full_disk_fills_with_no_empty_segments(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.append(prediction(0))
        assert writer.flush()
        undo = files_up_to(HEADER.size)
        try:
            for number in range(5):
                writer.append(prediction(number))
                assert writer.flush()
        finally:
            undo()
        assert len(segments(tmp_path / "gateway-0")) <= 2


def test_a_policy_that_keeps_everything_changes_nothing() -> None:
    assert redacting.changes_nothing(LogPolicy()) and redacting.changes_nothing(LogPolicy(sync="always"))
    for policy in (LogPolicy(sample=0.5), LogPolicy(drop=("x",)), LogPolicy(hash=("x",))):
        assert not redacting.changes_nothing(policy)


def test_columns_are_dropped_and_hashed_before_anything_is_on_disk(tmp_path: Path) -> None:
    policy = LogPolicy(drop=("x",), hash=("name", "age"))
    rows = [{"x": 777123, "name": "Ada Lovelace", "age": 36, "town": "London"}, {"name": "Ada Lovelace", "age": None}]
    with Writer(tmp_path / "log" / "e", policy=policy) as writer:
        writer.append(prediction(1, rows=rows))
        writer.append(prediction(2, rows=rows[:1]))
    (first, second), _ = read(tmp_path / "log" / "e")
    assert isinstance(first, Prediction) and isinstance(second, Prediction)
    assert first.withheld == ("x", "name", "age") and first.kept
    assert [sorted(row) for row in first.rows] == [["age", "name", "town"], ["age", "name"]]
    assert first.rows[0]["name"] == first.rows[1]["name"] == second.rows[0]["name"] != rows[0]["name"]
    assert first.rows[1]["age"] is None and first.rows[0]["town"] == "London"
    raw = b"".join(path.read_bytes() for path in (tmp_path / "log").rglob("*") if path.is_file())
    assert b"Lovelace" not in raw and b"777123" not in raw and b"London" in raw


def test_the_key_is_the_owners_alone_and_not_in_the_log(tmp_path: Path) -> None:
    key = tmp_path / "predictions.key"
    with Writer(tmp_path / "log" / "e", policy=LogPolicy(hash=("name",)), key=key) as writer:
        writer.append(prediction(1))
    assert key.stat().st_mode & 0o777 == 0o600
    (found,), _ = read(tmp_path / "log" / "e")
    assert isinstance(found, Prediction)
    assert found.rows[0]["name"] == redacting.hash_of("name", "n1", key.read_bytes())
    assert redacting.hash_of("name", "n1", b"another" * 4) != found.rows[0]["name"]
    assert redacting.hash_of("other", "n1", key.read_bytes()) != found.rows[0]["name"]
    raw = b"".join(path.read_bytes() for path in (tmp_path / "log").rglob("*") if path.is_file())
    assert key.read_bytes() not in raw


def test_several_that_make_the_key_have_the_same(tmp_path: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(redacting.key_at(tmp_path / "the.key"))) for _ in range(16)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 16 and len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["the.key"]


def test_what_cannot_be_hashed_is_not_logged_in_the_clear(tmp_path: Path) -> None:
    key = tmp_path / "predictions.key"
    key.write_bytes(b"short")
    with Writer(tmp_path / "e", policy=LogPolicy(hash=("name",)), key=key) as writer:
        writer.append(prediction(1))
        assert writer.flush()
        assert "no key" in writer.error and writer.dropped == 1
    assert read(tmp_path / "e")[0] == []


def test_rows_that_nobody_answered_may_hold_anything_under_any_name() -> None:
    policy = LogPolicy(drop=("name",))
    refused = prediction(1, rows=[{"Name": "Ada"}], answers=None, status=400, error="row 1: 'Name' is no column")
    kept = redacting.redacted(refused, policy, b"")
    assert isinstance(kept, Prediction)
    assert (kept.rows, kept.kept, kept.error, kept.status) == ([], False, "row 1", 400)
    assert redacting.redacted(refused, LogPolicy(sample=0.999999999), b"").error == refused.error


def test_of_a_sample_every_request_leaves_its_record(tmp_path: Path) -> None:
    sent = [each for n in range(400) for each in (prediction(n), shadow(n, at=n))]
    write(tmp_path, *sent, policy=LogPolicy(sample=0.25))
    found, _ = read(tmp_path)
    assert len(found) == 800
    kept = {each.id for each in found if isinstance(each, Prediction) and each.kept}
    assert 50 < len(kept) < 150
    for each in found:
        assert (each.answers is not None) == (each.id in kept)
        if isinstance(each, Prediction):
            assert bool(each.rows) == each.kept == (each.id in kept) and each.user_status == 200


@given(st.text(max_size=30), st.floats(0, 1))
def test_a_greater_sample_only_adds_to_a_smaller(identity: str, share: float) -> None:
    assert redacting.is_sampled(identity, 1.0) and not redacting.is_sampled(identity, 0.0)
    if redacting.is_sampled(identity, share):
        assert redacting.is_sampled(identity, min(1.0, share * 1.5))


def test_a_policy_holds_from_the_next_record_on(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.append(prediction(1))
        writer.follow(LogPolicy(drop=("name",)))
        writer.append(prediction(2))
        writer.follow(None)
        writer.append(prediction(3))
    assert ["name" in each.rows[0] for each in read(tmp_path)[0] if isinstance(each, Prediction)] == [True, False, True]


def test_the_strictest_of_several_policies() -> None:
    one = LogPolicy(drop=("a",), hash=("b",), sample=0.5, queue_bytes=5)
    two = LogPolicy(hash=("a", "c"), when_full="refuse", sync="always", queue_bytes=9)
    assert strictest([one, two]) == LogPolicy(
        sync="always", when_full="refuse", sample=0.5, drop=("a",), hash=("b", "c"), queue_bytes=9
    )
    assert strictest([]) == LogPolicy() == strictest([LogPolicy()])


def test_where_no_folder_can_be_made_there_is_no_writer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match="cannot write"):
        Writer(tmp_path / "file" / "e")
