"""How soon an application may be reset for an image again, when the last time did not bring it.

A download that fails each time, or somebody who answers with recorded headers, must not keep an
application from its work. Kept in NVS: how often this very firmware was reset, and for which content.
"""

import hashlib

import esp32

from gapcast_core.container import IMAGE_HEAD_BYTES

from .journal import ID_BYTES

# After 10 minutes of running, 20, 40, ...: a day at most.
RETRY_MS = 600000
MAX_RETRY_MS = 86400000
FREE_RESETS = 4  # for images that were not tried yet: the next one may mend what was wrong
_MAX_COUNT = 30
_KEY = "watch"


def wait_ms(journal, content):
    """From the start of the application until it may be reset for `content` (an id of 16 bytes)."""
    count, last = _load(journal)
    if not count or (content != last and count < FREE_RESETS):
        return 0
    return min(RETRY_MS << count - 1, MAX_RETRY_MS)


def note(journal, content):
    """It is going to be reset for it. Raises OSError: without a memory it would be, again and again."""
    count = min(_load(journal)[0] + 1, _MAX_COUNT)
    value = bytes([count]) + content + _running()
    try:
        journal.put(_KEY, value)
    except OSError:
        journal.make_room()
        journal.put(_KEY, value)


def _load(journal):
    """(resets of the firmware that runs, content that the last one was for)."""
    value = journal.get(_KEY)
    if len(value) != 1 + 2 * ID_BYTES or value[1 + ID_BYTES :] != _running():
        return 0, b""
    return value[0], value[1 : 1 + ID_BYTES]


def _running():
    """What says which build runs: its image's head, with the SHA-256 of its ELF file in it."""
    head = bytearray(IMAGE_HEAD_BYTES)
    esp32.Partition(esp32.Partition.RUNNING).readblocks(0, head, 0)
    return hashlib.sha256(head).digest()[:ID_BYTES]
