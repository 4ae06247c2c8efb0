"""boot.py on a board: the user's own, with our marked lines in it that start pre-boot."""

from __future__ import annotations

import re

from gapcast_tools.usb.fault import PortFault

BEGIN = b"# >>> gapcast >>>"
END = b"# <<< gapcast <<<"
_ABOUT = b" starts pre-boot; `gapcast unprovision` takes these lines out again\n"
_ALONE = b" made boot.py, and" + _ABOUT  # then there was none, and unprovision leaves none
_BLOCK = re.compile(rb"^%s([^\n]*)\n.*?^%s[^\n]*(?:\n|\Z)" % (re.escape(BEGIN), re.escape(END)), re.M | re.S)
_MARK = re.compile(rb"^(?:%s|%s)" % (re.escape(BEGIN), re.escape(END)), re.M)
# The first line of what MicroPython's esp32 port makes in a new file system (modules/inisetup.py).
_DEFAULT_HEAD = re.compile(rb"# ?This file is executed on every boot")


def without_block(data: bytes | None) -> bytes | None:
    """The user's own boot.py, byte by byte; None: there is none.

    Raises:
        PortFault: `damaged`: our marks are not in pairs, so what is ours cannot be told.
    """
    if data is None:
        return None
    match = _BLOCK.search(data)
    own = data if match is None else data[: match.start()] + data[match.end() :]
    if _MARK.search(own):
        hint = f"take the lines between `{BEGIN.decode()}` and `{END.decode()}` out of it, and both of those"
        raise PortFault("damaged", "boot.py on the board holds a part of Gapcast's lines only", hint)
    if match is not None and not own and match[1] == _ALONE.rstrip(b"\n"):
        return None
    return own


def with_block(data: bytes | None, start: bytes) -> bytes:
    """`data` with the lines `start` (firmware/boot.py) marked at its top, or where they were already.

    A boot.py that is nothing but `start`, copied there by hand, counts as ours.

    Raises:
        PortFault: `damaged`, as above.
    """
    own = without_block(data)
    if own is not None and own.split() == start.split():
        own = None
    lines = start if start.endswith(b"\n") else start + b"\n"
    block = BEGIN + (_ALONE if own is None else _ABOUT) + lines + END + b"\n"
    if own is None:
        return block
    match = _BLOCK.search(data or b"")
    if match is None or data is None:
        return block + own
    return data[: match.start()] + block + data[match.end() :]


def has_block(data: bytes | None) -> bool:
    """Whether this boot.py starts pre-boot by lines of ours."""
    return data is not None and _BLOCK.search(data) is not None


def is_default(data: bytes | None) -> bool:
    """Whether nobody wrote this boot.py: it is missing, or what MicroPython makes in a new file system."""
    own = without_block(data)
    if own is None:
        return True
    only_comments = all(not line.strip() or line.startswith(b"#") for line in own.split(b"\n"))
    return only_comments and _DEFAULT_HEAD.match(own) is not None
