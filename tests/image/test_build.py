"""Containers: built, read back, and every kind of damage found."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapcast.errors import OperatorError
from gapcast.image.boards import CHIPS
from gapcast.image.build import Container, ContainerDamaged, build_container, parse_container, read_container
from gapcast.image.espimage import ImageRefused
from gapcast.image.inspect import report
from gapcast.image.sample import build_sample
from gapcast_core.container import CHUNK_BYTES, HEADER_BYTES

ESP32 = CHIPS["esp32"]


def container(size: int = 10000, **named: object) -> Container:
    image = build_sample(size, "1.2.0", ESP32)
    return build_container(image, "bench", "SIM", ESP32, **named)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [624, 4095, 4096, 4097, 8192, 300000])
def test_there_and_back(size: int, tmp_path: Path) -> None:
    built = container(size)
    file = tmp_path / "bench.gap"
    file.write_bytes(built.data)
    read = read_container(file)
    assert read.problems() == []
    assert bytes(read.image) == build_sample(size, "1.2.0", ESP32)
    assert len(read.payload) % CHUNK_BYTES == 0
    assert set(bytes(read.payload[size:])) <= {0xFF}
    assert (read.header.name, read.header.version, read.header.board) == ("bench", "1.2.0", "SIM")
    assert read.content_id == hashlib.sha256(read.header_bytes).hexdigest()[:32]
    assert len(read.data) == read.header.container_bytes
    for number in range(read.header.chunks):
        digest = hashlib.sha256(read.chunk(number)).digest()[:16]
        assert bytes(read.table[16 * number : 16 * number + 16]) == digest


def test_the_version_is_the_images_own_unless_given() -> None:
    assert container().header.version == "1.2.0"
    assert container(version="9").header.version == "9"
    assert container(counter=0xFFFFFFFF).header.counter == 0xFFFFFFFF


def test_what_cannot_be_a_container() -> None:
    image = build_sample(4096, "1.2.0", ESP32)
    for name in ("", "a b", "x" * 33, "ü"):
        with pytest.raises(OperatorError):
            build_container(image, name, "SIM", ESP32)
    for counter in (-1, 1 << 32):
        with pytest.raises(OperatorError, match="counter"):
            build_container(image, "n", "SIM", ESP32, counter=counter)
    with pytest.raises(ImageRefused, match="esp32s2"):
        build_container(image, "n", "ESP32_GENERIC_S2", CHIPS["esp32s2"])
    with pytest.raises(ImageRefused, match="not an ESP32"):
        build_container(b"text", "n", "SIM", ESP32)


def test_a_length_that_is_not_the_headers() -> None:
    data = container().data
    for changed, reason in (
        (data[:-1], "truncated"),
        (data + b"x", "trailing_bytes"),
        (data[:500], "short_header"),
    ):
        with pytest.raises(ContainerDamaged) as caught:
            parse_container(changed)
        assert caught.value.reason == reason
    with pytest.raises(OperatorError, match="cannot read"):
        read_container(Path("does-not-exist.gap"))


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_no_damage_goes_unnoticed(data: st.DataObject) -> None:
    built = container(5000)
    raw = bytearray(built.data)
    offset = data.draw(st.integers(0, len(raw) - 1))
    raw[offset] ^= data.draw(st.integers(1, 255))
    try:
        damaged = parse_container(bytes(raw))
    except ContainerDamaged:
        assert offset < HEADER_BYTES
        return
    assert offset >= HEADER_BYTES
    assert damaged.problems()


def test_the_bad_chunks_are_named() -> None:
    raw = bytearray(container(40000).data)
    for chunk in (0, 3, 9):
        raw[HEADER_BYTES + chunk * CHUNK_BYTES] ^= 1
    damaged = parse_container(bytes(raw))
    assert damaged.bad_chunks() == [0, 3, 9]
    assert any("3 of 10 chunks" in problem for problem in damaged.problems())


def test_reports() -> None:
    built = container()
    facts = report(built.data)
    assert facts["intact"]
    assert (facts["kind"], facts["good_chunks"], facts["app_chip"]) == ("container", 3, "esp32")
    facts = report(bytes(built.image))
    assert facts["intact"]
    assert facts["sim_application"] == "present"
    assert report(built.data[:-1])["reason"] == "truncated"
    assert report(bytes(built.image)[:-1])["reason"] == "truncated"
    raw = bytearray(built.data)
    raw[HEADER_BYTES + 600] ^= 1
    facts = report(bytes(raw))
    assert not facts["intact"]
    assert facts["good_chunks"] == 2
    assert facts["verdict"].startswith("damaged container")
