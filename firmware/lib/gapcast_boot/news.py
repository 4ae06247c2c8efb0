"""What the server should hear of this board: one report at a time, kept in NVS until it is delivered.

A report is told only when there is something new: the same refusal of the same image is not told
at every boot, and a boot with nothing to do sends nothing.
"""

import binascii
import hashlib
import struct

import machine

from gapcast_core.errors import GapcastError

MAX_DELIVERIES = 5  # boots at which an unwanted report is offered: some servers take none
DELIVERY_MS = 1000
_TOLD_BYTES = 8
_NO_CONTENT = bytes(16)
# report.py's states, here so that it is loaded only when there is something to tell
_INSTALLED = 1
_CONFIRMED = 2
_ROLLED_BACK = 3
_REFUSED = 4
_FAILED = 5


def board_id(config):
    """The name of this board in reports."""
    return str(config.get("id") or "") or binascii.hexlify(machine.unique_id()).decode()


class News:
    """Reports nothing, and writes nothing, on a board without a report key."""

    def __init__(self, journal, config):
        self._journal = journal
        self._config = config

    def installed(self, header, content):
        self._tell(_INSTALLED, content, header.version, header.counter, "")

    def confirmed(self, trial):
        self._tell(_CONFIRMED, trial.content, trial.version, trial.counter, "")

    def rolled_back(self, trial, reason):
        self._tell(_ROLLED_BACK, trial.content, trial.version, trial.counter, reason)

    def refused(self, header, content, reason):
        """Told at a later boot when something waits: a refusal comes again, a rollback does not."""
        if self._waits():
            return
        self._tell(_REFUSED, content, header.version, header.counter, reason)

    def unreadable(self, content, reason):
        """A header that says nothing one could believe."""
        if self._waits():
            return
        self._tell(_REFUSED, content, "", 0, reason)

    def failed(self, reason):
        self._tell(_FAILED, _NO_CONTENT, "", 0, reason)

    def _tell(self, state, content, version, counter, reason):
        """Keep the report; it goes out with the next `deliver`. A full NVS is no reason to fail."""
        if not self._config.get("report_key"):
            return
        about = bytes([state]) + content + reason.encode()
        told = hashlib.sha256(about).digest()[:_TOLD_BYTES]
        journal = self._journal
        if journal.get("told") == told:
            return
        sequence = journal.number("seq") + 1
        try:
            packed = self._pack(sequence, state, content, version, counter, reason)
        except (ValueError, TypeError, GapcastError) as exc:  # a bad key or id in the settings
            journal.put_text("error", "report: %s" % exc)
            return
        try:
            journal.put_number("seq", sequence)
            journal.put("news", b"\0" + packed)
            journal.put("told", told)
        except OSError:
            pass

    def _pack(self, sequence, state, content, version, counter, reason):
        from gapcast_core import report

        key = binascii.unhexlify(self._config["report_key"])
        board = self._config["board"] or ""
        name = board_id(self._config)
        return report.pack_report(key, name, sequence, state, content, version, board, counter, reason)

    def tell_error(self):
        """The failure that an earlier pre-boot kept, when nothing else waits. True: it waits now."""
        if self._waits():
            return False
        error = self._journal.text("error")
        if error:
            self._journal.drop("error")
            self.failed(error)
        return self._waits()

    def _waits(self):
        return bool(self._journal.get("news"))

    def deliver(self, server, local_ip, clock):
        """Send what is waiting: nothing, or one exchange of at most DELIVERY_MS."""
        waiting = self._journal.get("news")
        if not waiting:
            return
        from . import reporting

        try:
            name = board_id(self._config)
            sent = reporting.send(server, local_ip, clock, name, waiting[1:], DELIVERY_MS)
        except (OSError, TypeError, ValueError, GapcastError):  # or the settings are bad
            sent = False
        try:
            if not sent and waiting[0] + 1 < MAX_DELIVERIES:
                self._journal.put("news", struct.pack("B", waiting[0] + 1) + waiting[1:])
                return
        except OSError:
            pass  # nowhere to count it: then this was the last time
        self._journal.drop("news")
