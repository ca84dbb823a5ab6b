"""Packs and lists of chunks: the formats, and what damage to them does."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.domain.errors import Corrupt
from windlass.store import chunks, pack
from windlass.store.chunks import Piece
from windlass.store.pack import Form, Record

# A footer and a page in format 1, for ever.
FOOTER = bytes.fromhex(
    "0101010101010101010101010101010101010101010101010101010101010101"
    "0000000000000000" "03000000" "0300000000000000" "00" "0100000000000000"
    "546408d7365130e5b4193c251486835c55f03a66d8ce5848f1a3f6008d745369"
    "574c5041434b3031"
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    data=st.one_of(st.binary(max_size=4000), st.integers(0, 300_000).map(lambda size: b"rows,of,text\n" * (size // 13)))
)
def test_a_body_gives_its_object_back(data: bytes) -> None:
    body, form = pack.encode(data)
    assert bytes(pack.decode(body, form, len(data))) == data
    assert len(body) <= len(data)


def test_only_what_pays_is_compressed() -> None:
    noise = random.Random(1).randbytes(200_000)
    assert pack.encode(noise)[1] is Form.RAW
    assert pack.encode(b"a,b,c\n" * 30_000)[1] is Form.ZSTD
    assert pack.encode(b"short")[1] is Form.RAW


def test_a_body_that_claims_another_size_is_refused_before_room_is_made_for_it() -> None:
    body, form = pack.encode(bytes(1 << 20))
    assert form is Form.ZSTD
    with pytest.raises(Corrupt):
        pack.decode(body, form, 5)
    with pytest.raises(Corrupt):
        pack.decode(b"no zstd at all", Form.ZSTD, 100)
    with pytest.raises(Corrupt):
        pack.decode(b"raw", Form.RAW, 4)


def test_the_footer_is_the_golden_one() -> None:
    record = Record(bytes([1]) * 32, 0, 3, 3, Form.RAW)
    written = pack.footer([record])
    assert written == FOOTER
    assert pack.footer_size(written[-pack.TAIL.size :]) == len(written)
    assert pack.records(written, len(written) + 3) == [record]


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_damaged_footer_is_never_believed(at: int, flip: int) -> None:
    records = [Record(bytes([n]) * 32, 10 * n, 10, 10, Form.RAW) for n in range(3)]
    written = bytearray(pack.footer(records))
    written[at % len(written)] ^= flip
    with pytest.raises(Corrupt):
        size = pack.footer_size(bytes(written[-pack.TAIL.size :]))
        if size > len(written):
            raise Corrupt("longer than the pack")
        pack.records(bytes(written[-size:]), len(written) + 30)


def test_a_footer_that_names_bytes_beyond_the_pack_is_refused() -> None:
    written = pack.footer([Record(bytes(32), 0, 100, 100, Form.RAW)])
    with pytest.raises(Corrupt, match="beyond its end"):
        pack.records(written, len(written) + 50)


def test_near_records_are_read_at_once_and_far_ones_apart() -> None:
    records = [
        Record(bytes([n]) * 32, offset, 100, 100, Form.RAW) for n, offset in enumerate([0, 100, 10_000_000, 300])
    ]
    groups = [[record.offset for record in group] for group in pack.runs(records)]
    assert groups == [[0, 100, 300], [10_000_000]]


class Pages(dict[bytes, bytes]):
    def put(self, page: bytes) -> bytes:
        key = chunks.identity(page)
        self[key] = page
        return key


pieces = st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.integers(1, 1000)), max_size=400).map(
    lambda found: [Piece(*each) for each in found]
)


@settings(max_examples=50, deadline=None)
@given(pieces)
def test_a_list_of_chunks_gives_them_back_in_order(found: list[Piece]) -> None:
    pages = Pages()
    root = chunks.pages(found, pages.put)
    walked = list(chunks.pieces(root, pages.__getitem__))
    assert [piece for _, piece in walked] == found
    assert [offset for offset, _ in walked] == [sum(each.size for each in found[:at]) for at in range(len(found))]
    assert {node for node, is_page in chunks.nodes(root, pages.__getitem__) if is_page} <= pages.keys()


@settings(max_examples=50, deadline=None)
@given(pieces.filter(len), st.data())
def test_a_range_needs_only_the_chunks_that_hold_it(found: list[Piece], data: st.DataObject) -> None:
    pages = Pages()
    root = chunks.pages(found, pages.put)
    total = sum(piece.size for piece in found)
    start = data.draw(st.integers(0, total - 1))
    stop = data.draw(st.integers(start + 1, total))
    offset, expected = 0, []
    for piece in found:
        if offset < stop and offset + piece.size > start:
            expected.append((offset, piece))
        offset += piece.size
    assert list(chunks.pieces(root, pages.__getitem__, start=start, stop=stop)) == expected


def test_a_change_in_a_long_list_writes_few_pages() -> None:
    rng = random.Random(2)
    found = [Piece(rng.randbytes(32), 1000) for _ in range(20_000)]
    pages = Pages()
    chunks.pages(found, pages.put)
    before = len(pages)
    found[10_000:10_000] = [Piece(rng.randbytes(32), 7)]
    chunks.pages(found, pages.put)
    assert len(pages) - before <= 5


def test_what_is_no_page_is_refused() -> None:
    for data in (b"", b"WLCHUNK1", b"WLCHUNK1\0short", b"something else entirely"):
        with pytest.raises(Corrupt):
            chunks.read_page(data)
    circle = bytes(32)
    page = b"WLCHUNK1\x01" + circle + (1).to_bytes(8, "little")
    with pytest.raises(Corrupt, match="deeper"):
        list(chunks.pieces(circle, lambda _: page))
