"""What an image file holds and whether it is intact: the facts behind `gapcast image inspect`."""

from __future__ import annotations

from typing import Any

from gapcast.image.boards import chip_name
from gapcast.image.build import Container, ContainerDamaged, parse_container
from gapcast.image.espapp import AppImage, parse_app
from gapcast.image.espimage import ImageRefused
from gapcast.image.sample import read_application
from gapcast_core.appimage import chip_id_of, head_fault
from gapcast_core.container import FLAG_RETRY, MAGIC

SIGNATURE_NAME = "RSA-3072 PSS"  # present; whether it fits is `gapcast image verify`'s to say


def report(data: bytes) -> dict[str, Any]:
    """Facts about a container or an application image, in the order to show them.

    Always there: `kind` ("container" or "application"), `intact`, `problems` (for people) and `verdict`, one
    line.
    """
    if data[: len(MAGIC)] == MAGIC:
        return _container_report(data)
    return _application_report(data)


def _container_report(data: bytes) -> dict[str, Any]:
    try:
        container = parse_container(data)
    except ContainerDamaged as error:
        return _finish("container", {"reason": error.reason}, [error.message])
    problems = container.problems()
    facts = _container_facts(container)
    try:
        facts |= {
            f"app_{key}": value
            for key, value in _application_facts(parse_app(bytes(container.image))).items()
        }
    except ImageRefused as error:
        problems.append(f"the image inside is refused: {error.message}")
    return _finish("container", facts, problems)


def _container_facts(container: Container) -> dict[str, Any]:
    header = container.header
    bad = len(container.bad_chunks())
    return {
        "name": header.name,
        "version": header.version,
        "board": header.board,
        "target": header.target,
        "counter": header.counter,
        "content_id": container.content_id,
        "container_bytes": header.container_bytes,
        "image_bytes": header.image_bytes,
        "payload_bytes": header.payload_bytes,
        "table_bytes": header.table_bytes,
        "chunks": header.chunks,
        "good_chunks": header.chunks - bad,
        "table_sha256": header.table_digest.hex(),
        "image_sha256": header.image_digest.hex(),
        "image_head": _head_text(header.image_head),
        "retry": bool(header.flags & FLAG_RETRY),
        "signature": "none" if container.key_id is None else SIGNATURE_NAME,
        "key_id": container.key_id,
    }


def _head_text(head: bytes) -> str:
    """What boards read out of the head, without the image."""
    chip_id = chip_id_of(head)
    return head_fault(head, chip_id) or f"application for {chip_name(chip_id)}"


def _application_report(data: bytes) -> dict[str, Any]:
    try:
        app = parse_app(data)
    except ImageRefused as error:
        return _finish("application", {"reason": error.reason, "hint": error.hint}, [error.message])
    facts = _application_facts(app)
    facts["sim_application"] = "present" if read_application(data) is not None else "none"
    return _finish("application", facts, [])


def _application_facts(app: AppImage) -> dict[str, Any]:
    descriptor = app.descriptor
    return {
        "project": descriptor.project,
        "version": descriptor.version,
        "built": f"{descriptor.date} {descriptor.time}",
        "idf": descriptor.idf,
        "secure_version": descriptor.secure_version,
        "elf_sha256": descriptor.elf_sha256.hex(),
        "chip": app.chip,
        "entry": f"0x{app.entry:08x}",
        "segments": ", ".join(f"{part.size}@0x{part.address:08x}" for part in app.segments),
        "checksum": f"0x{app.checksum:02x}",
        "sha256": app.digest.hex(),
        "image_bytes": app.image_bytes,
        "trailer_bytes": app.trailer_bytes,
    }


def _finish(kind: str, facts: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    if problems:
        verdict = f"damaged {kind}: {problems[0]}" if kind == "container" else f"refused: {problems[0]}"
    else:
        verdict = f"intact {kind}, {facts['version']} for {facts.get('board') or facts['chip']}"
        if kind == "container":
            key_id = facts["key_id"]
            verdict += f", signature by {key_id} not verified" if key_id else ", unsigned"
    return {"kind": kind, **facts, "intact": not problems, "problems": problems, "verdict": verdict}
