"""Pre-boot: ask, fetch, verify, switch. Always ends by an application starting.

`run` is what boot.py calls. It returns when the application that is in the running slot should
start; it resets the board when a new image has been made the one to boot.
"""

import binascii

import machine

from gapcast_core import container, wire
from gapcast_core.errors import PeerError

from . import flash, health, net, port, trial
from .config import DEFAULTS, load_config
from .journal import Journal
from .news import News
from .progress import Progress
from .refusal import Refused
from .transfer import Transfer, TransferError

# Loaded when there is an image to judge or to fetch, and dropped again: a board's heap is small.
_JUDGING = ("gapcast_boot.judge", "gapcast_core.signature", "gapcast_core.appimage")
_UPDATING = ("gapcast_boot.updating",)
_REPORTING = ("gapcast_core.report", "gapcast_boot.reporting")


def run(progress=None, config=None, hold=None):
    """One pre-boot: never raises, so that the application always starts.

    hold: called when the network is up, before the first request (a simulated fleet starts
    its boards together with it).
    """
    port.collect_often(True)
    boot = _Boot(progress or Progress(), hold)
    outcome, detail = _guarded(boot, config)
    try:
        boot.progress.result(outcome, detail)
    except Exception:  # telling about it is not worth a board
        pass
    if outcome == "updated":
        machine.reset()
    boot.link.release()
    port.collect_often(False)


def _guarded(boot, config):
    """(outcome, detail), whatever happens."""
    try:
        return boot.run(config)
    except Exception as exc:  # whatever it is (MemoryError too): the application must start
        detail = "%s: %s" % (type(exc).__name__, exc)
    try:
        Journal().put_text("error", detail)
    except Exception:  # no NVS: it can only be shown
        pass
    return "failed", detail


class _Boot:
    """One pre-boot."""

    def __init__(self, progress, hold):
        self.progress = progress
        self.link = net.Link()
        self._hold = hold
        self._clock = port.Clock()
        self._config = DEFAULTS
        self._journal = None
        self._news = None
        self._server = None
        self._local_ip = None
        self._rolled_back = None  # why the last update was given up, when that was found in this boot

    def run(self, config):
        """(outcome, detail). Raises whatever went wrong."""
        error = None
        try:
            self._config = config or load_config()
        except Exception as exc:  # a trial goes on all the same
            error = exc
        self._journal = Journal()
        self._news = News(self._journal, self._config)
        on_trial = trial.running(self._journal)
        if on_trial is not None:
            health.begin(on_trial, self._config, self.progress.confirmed)
            trial.count_boot(self._journal, on_trial)
        elif self._settle():
            port.drop(*_REPORTING)
        if error is not None:
            raise error
        self._connect()
        if on_trial is not None:
            return self._on_trial(on_trial)
        return self._ask()

    def _settle(self):
        """What became of the last update, when this is not the image it brought."""
        health.begin(None, self._config)
        ended = trial.settle(self._journal, self._news)
        if ended is not None:
            self._rolled_back = ended[1]
            self.progress.rolled_back(ended[0], ended[1])
        return ended is not None

    def _connect(self):
        config = self._config
        try:
            self._local_ip = self.link.up(config, self._clock)
        finally:  # it may come up yet, while the application runs
            health.use_network(self.link.nic)
        self._server = port.resolve(config["server"], config["port"])
        if self._hold:
            self._hold()
        self.progress.started()

    def _on_trial(self, on_trial):
        """No second update while one is not confirmed: the other slot is its fallback."""
        if self._config["health"] == "boot":
            self._fetch_header()
            health.confirm()
            return "up_to_date", on_trial.version
        self._deliver()
        return "on_trial", on_trial.version

    def _ask(self):
        if self._rolled_back:  # the old application has its turn, whatever there is to fetch
            self._deliver()
            return "rolled_back", self._rolled_back
        raw, name = self._fetch_header()
        self._deliver()
        if self._news.tell_error():
            self._deliver()
        if raw is None:
            return "up_to_date", "the server has no image for this board"
        content = binascii.unhexlify(container.content_id(raw))
        try:
            header = container.parse_header(raw)
        except PeerError as exc:
            self._news.unreadable(content, exc.reason)
            self._deliver()
            return "refused", exc.reason
        self.progress.header(header)
        if flash.runs(header):
            return "up_to_date", header.version
        return self._update(raw, header, content, (name, self._config["image"] + ".gap"))

    def _update(self, raw, header, content, names):
        try:
            signed, slot = self._judge(raw, header, content)
            port.drop(*_JUDGING)  # with what it has loaded, for nobody holds `judge` here
            trial.keep_running()  # before anything is erased: the other slot may be its fallback
            self._fetch(names, header, slot, content, signed, raw)
        except Refused as exc:
            return self._refuse(exc, header, content)
        try:
            port.drop(*_UPDATING)
            self._news.installed(header, content)
            self._deliver()
        except Exception:  # no memory, whatever: the image is to boot already
            pass
        return "updated", header.version

    def _judge(self, raw, header, content):
        from .judge import judge

        signed, slot = judge(raw, header, content, self._config, self._journal)
        if not signed:
            self.progress.unsigned()
        return signed, slot

    def _refuse(self, refused, header, content):
        failed = [pair[1] for pair in self._journal.failed()]
        if refused.reason == "rolled_back_before" and content in failed:
            return "refused", str(refused)  # that it was rolled back has been told
        self._news.refused(header, content, str(refused))
        self._deliver()
        return "refused", str(refused)

    def _fetch(self, names, header, slot, content, signed, raw):
        from .updating import Update

        link = self._server, self._local_ip, self._clock, self.progress
        Update(link, names, self._config, self._journal, header, slot, raw).run(content, signed)

    def _fetch_header(self):
        """(header bytes, name to fetch the image by); (None, None) when there is nothing to do."""
        image = self._config["image"]
        try:
            raw = self._fetch_head(image + ".hdr", _is_sound)
            return raw, "gap/" + container.content_id(raw)
        except TransferError as exc:
            if exc.code != wire.ERR_NOT_FOUND:
                raise
        try:  # a stock server knows no `.hdr`: take the head of the container itself
            return self._fetch_head(image + ".gap", None), image + ".gap"
        except TransferError as exc:
            if exc.code != wire.ERR_NOT_FOUND:
                raise
        return None, None

    def _fetch_head(self, name, is_sound):
        """A file's first bytes; is_sound: of a file that ends there (Transfer.run_head)."""
        sink = flash.RamSink(container.HEADER_BYTES)
        ask_ms = self._config["ask_ms"]
        transfer = Transfer(self._server, self._local_ip, name, sink, self._clock, self.progress, ask_ms)
        transfer.run_head(container.HEADER_BYTES, is_sound and (lambda: is_sound(sink.data)))
        return sink.data

    def _deliver(self):
        """What the server should hear; nothing at most boots."""
        self._news.deliver(self._server, self._local_ip, self._clock)
        port.drop(*_REPORTING)


def _is_sound(raw):
    """True for a header without damage, whoever sent it."""
    try:
        container.parse_header(raw)
    except PeerError:
        return False
    return True


def fetch_file(config, path, progress, hold=None):
    """Fetch the plain file config["image"] to `path` as it is, with no image checks.

    Raises TransferError, net.NetworkError, OSError.
    """
    clock = port.Clock()
    local_ip = net.Link().up(config, clock)
    server = port.resolve(config["server"], config["port"])
    sink = flash.FileSink(path)
    try:
        if hold:
            hold()
        progress.started()
        transfer = Transfer(server, local_ip, config["image"], sink, clock, progress, config["stall_ms"])
        try:
            transfer.run()
        finally:
            transfer.close()
    finally:
        sink.close()
    progress.verified(transfer)
