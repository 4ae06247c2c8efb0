"""May this image go into this board? Judged from its header alone, before anything is erased."""

import esp32

from gapcast_core import appimage, container, signature
from gapcast_core.errors import PeerError

from .journal import ID_BYTES
from .refusal import Refused
from .trial import MAX_TRIES, tries_of


def judge(raw, header, content, config, journal):
    """(signed, slot to write). Raises Refused, OSError, UsageError (the board's keys are none).

    raw: the header's 1024 bytes. content: its content id, 16 bytes.
    """
    signed = _signer(raw, config) is not None
    if header.board != config["board"]:
        raise Refused("wrong_board", "for %s, this is %s" % (header.board, config["board"]))
    if header.target != container.TARGET_APP:
        raise Refused("wrong_target", header.target)
    running = esp32.Partition(esp32.Partition.RUNNING)
    head = bytearray(container.IMAGE_HEAD_BYTES)
    running.readblocks(0, head, 0)
    fault = appimage.head_fault(header.image_head, appimage.chip_id_of(head))
    if fault:
        raise Refused(fault)
    slot = _other_slot(running)
    needed_bytes = header.payload_bytes + header.table_bytes
    if needed_bytes > slot.info()[3]:
        raise Refused("too_large", "needs %d bytes, the slot has %d" % (needed_bytes, slot.info()[3]))
    counter = journal.number("counter")
    if header.counter < counter:
        raise Refused("old_counter", "%d, this board is at %d" % (header.counter, counter))
    _check_history(header, content, config, journal)
    return signed, slot


def _signer(raw, config):
    """The key id, None for nobody's. Raises Refused."""
    allow_unsigned = config["allow_unsigned"] is True  # not for a "false" in quotes
    if not config["keys"] and not allow_unsigned:
        raise Refused("no_keys", "this board trusts no key")
    keys = signature.parse_keys(config["keys"])
    try:
        return signature.check_header(raw, keys, allow_unsigned)
    except PeerError as exc:
        raise Refused(exc.reason)


def _other_slot(running):
    """The slot that is not running. With a single OTA slot ESP-IDF names the running one itself."""
    try:
        slot = running.get_next_update()
    except OSError:
        slot = running
    if slot.info()[2] == running.info()[2]:
        raise Refused("one_slot", "an update needs a partition table with two application slots")
    return slot


def _check_history(header, content, config, journal):
    """An image that was rolled back is not taken again, unless the operator says so."""
    if config["retry_failed"] is True:
        return
    table = header.table_digest[:ID_BYTES]
    pairs = journal.failed()
    if header.flags & container.FLAG_RETRY:
        known = (table, content) in pairs
    else:
        known = table in [pair[0] for pair in pairs]
    if known:
        raise Refused("rolled_back_before", header.version)
    if tries_of(journal, table, content) >= MAX_TRIES:
        raise Refused("rolled_back_before", "%s did not start in %d tries" % (header.version, MAX_TRIES))
