"""The parsers of the shared core: what is packed comes back, and no bytes raise anything but PeerError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gapcast_core import container, options, wire
from gapcast_core.errors import PeerError

# A datagram's text: no NUL. Keys of options compare in lower case, so they are made so.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
KEYS = TEXT.map(str.lower).filter(lambda key: key.lower() == key)
OPTIONS = st.lists(st.tuples(KEYS, TEXT), max_size=6, unique_by=lambda pair: pair[0])
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=16)
DIGESTS = st.binary(min_size=32, max_size=32)

PARSERS: list[Callable[[bytes], Any]] = [
    wire.opcode,
    wire.parse_request,
    wire.parse_oack,
    wire.parse_ack,
    wire.parse_error,
    container.parse_header,
]
TEXT_PARSERS: list[Callable[[str], Any]] = [
    options.parse_multicast,
    lambda text: options.parse_ranges(text, 65535),
    lambda text: options.parse_number(text, 0, 65535),
]


def refusal(parser: Callable[[Any], Any], data: Any) -> PeerError | None:
    """The PeerError of a parser, or None when it returned; any other exception is a failed test."""
    try:
        parser(data)
    except PeerError as error:
        return error
    return None


@given(st.sampled_from([wire.OP_RRQ, wire.OP_WRQ]), TEXT.filter(bool), OPTIONS)
def test_a_request_comes_back(op: int, name: str, pairs: list[tuple[str, str]]) -> None:
    fields = [name, *[field for pair in pairs for field in pair]]
    if sum(len(field.encode()) + 1 for field in fields) + 8 > wire.MAX_REQUEST_BYTES:
        return
    assert wire.parse_request(wire.pack_request(op, name, pairs)) == (op, name, "octet", pairs)


@given(OPTIONS)
def test_an_oack_comes_back(pairs: list[tuple[str, str]]) -> None:
    assert wire.parse_oack(wire.pack_oack(pairs)) == pairs


@given(st.integers(0, 65535))
def test_an_ack_comes_back(block: int) -> None:
    assert wire.parse_ack(wire.pack_ack(block)) == block
    buf = bytearray(4)
    wire.pack_ack_into(buf, block)
    assert buf == wire.pack_ack(block)


@given(st.integers(0, 255), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=128))
def test_an_error_comes_back(code: int, text: str) -> None:
    assert wire.parse_error(wire.pack_error(code, text)) == (code, text)


@pytest.mark.parametrize("parser", PARSERS)
@given(data=st.binary(max_size=1100))
@example(data=b"")
def test_any_bytes_parse_or_are_refused(parser: Callable[[bytes], Any], data: bytes) -> None:
    error = refusal(parser, data)
    assert error is None or error.reason


@pytest.mark.parametrize("op", [1, 2, 4, 5, 6])
@given(
    st.lists(
        st.one_of(st.binary(max_size=12), st.sampled_from([b"octet", b"blksize", b"ranges"])), max_size=40
    )
)
def test_datagrams_of_the_right_shape_parse_or_are_refused(op: int, fields: list[bytes]) -> None:
    data = bytes([0, op]) + b"".join(field + b"\0" for field in fields)
    for parser in PARSERS:
        error = refusal(parser, data)
        assert error is None or error.code in (0, wire.ERR_ILLEGAL, wire.ERR_OPTION)


@pytest.mark.parametrize("parser", TEXT_PARSERS)
@given(text=st.one_of(st.text(), st.text("0123456789,-."), st.from_regex(r"(\d{1,6}(-\d{1,6})?,){0,8}\d?")))
def test_any_text_parses_or_is_refused(parser: Callable[[str], Any], text: str) -> None:
    error = refusal(parser, text)
    assert error is None or error.code == wire.ERR_OPTION


@given(st.lists(st.integers(1, 65535), unique=True, max_size=200).map(sorted), st.integers(1, 512))
def test_ranges_come_back(edges: list[int], room: int) -> None:
    pairs = [(first, last - first + 1) for first, last in zip(edges[::2], edges[1::2], strict=False)]
    text, count = options.format_ranges(pairs, room)
    assert len(text) <= room
    assert options.parse_ranges(text, 65535) == pairs[:count]


@given(st.integers(224, 239), st.tuples(*[st.integers(0, 255)] * 3), st.integers(1, 65535), st.booleans())
def test_multicast_comes_back(first: int, rest: tuple[int, int, int], port: int, master: bool) -> None:
    address = ".".join(map(str, (first, *rest)))
    assert options.parse_multicast(options.format_multicast(address, port, master)) == (address, port, master)


FIELDS = st.tuples(
    NAMES,
    NAMES,
    NAMES,
    st.integers(1, container.MAX_PAYLOAD_BYTES - container.CHUNK_BYTES),
    DIGESTS,
    DIGESTS,
    st.integers(0, container.MAX_COUNTER),
)


@given(FIELDS)
def test_a_header_comes_back(fields: tuple[Any, ...]) -> None:
    header = container.Header(*fields)
    parsed = container.parse_header(header.pack())
    assert vars(parsed) == vars(header)


@given(st.integers(4, 1007), st.binary(min_size=1, max_size=40))
def test_a_changed_header_with_a_fitting_digest_parses_or_is_refused(offset: int, new: bytes) -> None:
    raw = bytearray(container.Header("n", "1", "SIM", 5000, bytes(32), bytes(32)).pack()[:1008])
    raw[offset : offset + len(new)] = new
    raw = raw[:1008]
    sealed = bytes(raw) + container.chunk_digest(bytes(raw))
    error = refusal(container.parse_header, sealed)
    if error is not None:
        assert error.reason in ("bad_format", "bad_sizes", "bad_name", "bad_signature_place")
        return
    parsed = container.parse_header(sealed)
    assert container.parse_header(parsed.pack()).pack() == parsed.pack()
