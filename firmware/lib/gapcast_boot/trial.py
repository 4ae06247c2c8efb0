"""From `made the one to boot` to `confirmed`, or back.

The order of the writes is what makes a power cut between any two of them harmless:

    start     trial (tries + 1), set_boot, trial (switched)
    boot      trial (booted + 1)
    confirm   mark_app_valid, counter, failed, news, trial erased
    settle    reason, failed, news, trial erased, reason erased

Each can be done again from its beginning: what is there already is written once more.
"""

import hashlib

import esp32
import machine

from gapcast_core.container import CHUNK_BYTES, DIGEST_BYTES, IMAGE_HEAD_BYTES, TABLE_ALIGN_BYTES

from . import flash
from .journal import ID_BYTES, Trial

MAX_TRIES = 3  # of one image whose power was lost: then it may be the one that makes the supply fail
MAX_BOOTS = 3  # without confirmation, where the boot loader does not go back by itself
HEAD_DIGEST_BYTES = 8
UNREACHED = "the server was not reached"  # the reason of a trial that pre-boot was to confirm


def start(journal, header, content, signed, slot, anew):
    """Make the complete image in `slot` the one to boot. Raises OSError.

    content: its content id, 16 bytes. anew: earlier tries do not count.
    """
    trial = Trial(
        header.table_digest[:ID_BYTES],
        content,
        hashlib.sha256(header.image_head).digest()[:HEAD_DIGEST_BYTES],
        header.payload_bytes,
        header.counter,
        signed,
        header.version,
        slot.info()[4],
        esp32.Partition(esp32.Partition.RUNNING).info()[4],
    )
    trial.tries = 1 if anew else tries_of(journal, trial.table, content) + 1
    journal.drop("reason")
    try:
        journal.put_trial(trial)
    except OSError:  # an application fills NVS too: an update is worth more than what may be told
        journal.make_room()
        journal.put_trial(trial)
    slot.set_boot()
    trial.switched = True
    try:
        journal.put_trial(trial)
    except Exception:  # NVS, or no memory: it is going to boot, and says so itself then
        pass


def tries_of(journal, table, content):
    """How often this very container has been made the one to boot without being judged."""
    trial = journal.trial()
    return trial.tries if trial and (trial.table, trial.content) == (table, content) else 0


def running(journal):
    """The Trial that the running slot is on, or None."""
    trial = journal.trial()
    if trial is None:
        return None
    slot = esp32.Partition(esp32.Partition.RUNNING)
    return trial if slot.info()[4] == trial.slot and _holds(slot, trial) else None


def _holds(slot, trial):
    """False when somebody has flashed something else since."""
    buffer = bytearray(flash.STEP_BYTES)
    chunks = trial.payload_bytes // CHUNK_BYTES
    table_bytes = -(-chunks * DIGEST_BYTES // TABLE_ALIGN_BYTES) * TABLE_ALIGN_BYTES
    digest = flash.table_digest(slot, trial.payload_bytes, table_bytes, buffer)
    head = bytearray(IMAGE_HEAD_BYTES)
    slot.readblocks(0, head, 0)
    return (
        digest[:ID_BYTES] == trial.table and hashlib.sha256(head).digest()[:HEAD_DIGEST_BYTES] == trial.head
    )


def count_boot(journal, trial):
    """One more boot on trial. Returns only when it may go on; else the old image is booted."""
    trial.booted += 1
    try:
        journal.put_trial(trial)
    except OSError:
        pass
    # A boot loader with rollback would not have come here again: it is an old one.
    if trial.booted > MAX_BOOTS and not journal.text("reason"):
        journal.put_text("reason", "not confirmed in %d boots" % MAX_BOOTS)
    if trial.booted > MAX_BOOTS or journal.text("reason"):
        _go_back(trial)


def _go_back(trial):
    """Boot the slot that ran before, if the image in it still can."""
    try:
        esp32.Partition(trial.before).set_boot()
    except OSError:
        return  # nothing to go back to: an application that is not healthy is better than none
    machine.reset()


def confirm(journal, trial, news):
    """The running image is healthy: keep it. news: see news.py."""
    keep_running()
    try:
        if trial.signed and trial.counter > journal.number("counter"):
            journal.put_number("counter", trial.counter)
        journal.forgive(trial.table)
        news.confirmed(trial)
    except OSError:
        pass  # NVS is full: the image is healthy all the same
    journal.drop("trial")


def settle(journal, news):
    """The last update's end, when another slot runs: (version, reason), or None when all is well.

    reason is None when the image may be tried again.
    """
    trial = journal.trial()
    if trial is None:
        return None
    if esp32.Partition(esp32.Partition.RUNNING).info()[4] == trial.slot:
        journal.drop("trial")  # somebody has flashed something else there
        return None
    if not (trial.switched or trial.booted):
        return None  # the power went before set_boot
    # If we went back ourselves, this image is the one that the boot loader waits for.
    keep_running()
    reason = journal.text("reason")
    if trial.tries < MAX_TRIES and _is_nobodys_fault(reason):
        journal.drop("reason")
        _keep_tries(journal, trial)
        return trial.version, None
    if not reason:
        reason = _cause()
        journal.put_text("reason", reason)
    is_listed = _list_failed(journal, trial)
    news.rolled_back(trial, reason)
    if is_listed:
        journal.drop("trial")
    else:
        trial.tries = MAX_TRIES  # that keeps it away as well, as long as no other is tried
        _keep_tries(journal, trial)
    journal.drop("reason")
    return trial.version, reason


def _is_nobodys_fault(reason):
    """The power was lost, or the server: the image may be good."""
    return reason == UNREACHED or (not reason and machine.reset_cause() == machine.PWRON_RESET)


def _keep_tries(journal, trial):
    """The trial is over, but its tries count."""
    trial.switched = False
    trial.booted = 0
    try:
        journal.put_trial(trial)
    except OSError:
        journal.drop("trial")  # else every boot would settle it again


def _list_failed(journal, trial):
    """False when there is no room in NVS for it, whatever else is given up."""
    for _attempt in range(2):
        try:
            journal.add_failed(trial.table, trial.content)
            return True
        except OSError:
            journal.make_room()
    return False


def _cause():
    """Why a boot ended that nobody recorded a reason for."""
    cause = machine.reset_cause()
    if cause == machine.PWRON_RESET:
        return "power lost %d times before it was confirmed" % MAX_TRIES
    if cause == machine.WDT_RESET:
        return "watchdog reset"
    if cause == machine.DEEPSLEEP_RESET:
        return "deep sleep before it was confirmed"
    return "reset before it was confirmed"


def keep_running():
    """Tell the boot loader to keep the running image.

    mark_app_valid marks what otadata names. That is another slot when the boot loader passed over a
    damaged image, or when nothing has reset the board since set_boot.
    """
    try:
        running = esp32.Partition(esp32.Partition.RUNNING)
        if esp32.Partition(esp32.Partition.BOOT).info()[4] != running.info()[4]:
            running.set_boot()
        esp32.Partition.mark_app_valid_cancel_rollback()
    except OSError:  # no otadata yet, or a boot loader without rollback: nothing to confirm
        pass
