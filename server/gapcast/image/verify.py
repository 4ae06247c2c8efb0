"""Would a board with these keys take a container? The facts behind `gapcast image verify`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gapcast.errors import OperatorError
from gapcast.image.boards import BOARD_CHIPS
from gapcast.image.build import parse_container
from gapcast.image.inspect import report
from gapcast_core.container import MAGIC
from gapcast_core.errors import PeerError
from gapcast_core.signature import PublicKey, check_header

_TEXTS = {
    "unsigned": "it carries no signature",
    "unknown_key": "it is signed by another key",
    "bad_signature": "its signature does not fit",
}

_SHOWN = ("name", "version", "board", "counter", "retry", "content_id", "key_id", "app_chip")


def verify(data: bytes, keys: Sequence[tuple[str, PublicKey]]) -> dict[str, Any]:
    """Facts about a container, in the order to show them.

    Args:
        data: A file's bytes.
        keys: Trusted keys, and what to call them.

    Returns:
        `trusted`: everything fits; `reason`: why not (a PeerError's reason, `damaged`, `wrong_chip`) or None;
        `signed_by`: the name of the key whose signature fits, or None; `problems`; `verdict`; and _SHOWN.

    Raises:
        OperatorError: `data` is not even meant to be a container.
    """
    if data[: len(MAGIC)] != MAGIC:
        hint = "`gapcast image build` makes one; only containers are signed"
        raise OperatorError("this is not a container", hint)
    facts = report(data)
    problems = list(facts["problems"])
    reason = None if facts["intact"] else str(facts.get("reason", "damaged"))
    signed_by = None
    if "key_id" in facts:
        try:
            key_id = check_header(parse_container(data).header_bytes, [key for _name, key in keys])
            signed_by = next(name for name, key in keys if key.key_id == key_id)
        except PeerError as error:
            reason = reason or error.reason
            problems.append(_TEXTS[error.reason])
    chip = BOARD_CHIPS.get(str(facts.get("board")))
    if chip is not None and facts.get("app_chip", chip) != chip:
        reason = reason or "wrong_chip"
        problems.append(f"the image is for {facts['app_chip']}, the board has {chip}")
    return {
        **{name: facts[name] for name in _SHOWN if name in facts},
        "signed_by": signed_by,
        "trusted": not problems,
        "reason": reason,
        "problems": problems,
        "verdict": f"refused: {problems[0]}" if problems else f"intact, and signed by {signed_by}",
    }
