"""One board, from whatever it is to a member of the fleet.

Nothing is erased before everything that can be known beforehand is known. Every step looks at what is there
and does what is missing, so a run that broke off is finished by the next, and one that finds all as it should
be changes nothing.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gapcast.errors import OperatorError
from gapcast_tools.boards.firmware import Firmware, Part
from gapcast_tools.provision import flashing
from gapcast_tools.provision.outcome import Outcome
from gapcast_tools.provision.plan import Plan, mark_of
from gapcast_tools.usb.claim import claimed
from gapcast_tools.usb.client import compile_client
from gapcast_tools.usb.esptool import Esptool, Identity
from gapcast_tools.usb.fault import PortFault
from gapcast_tools.usb.fleet import enter_in_fleet
from gapcast_tools.usb.install import install
from gapcast_tools.usb.keep import discard, put_back, save_files, saved_folder
from gapcast_tools.usb.look import BoardRuntime, Look, look
from gapcast_tools.usb.mpremote import Mpremote
from gapcast_tools.usb.process import Stop
from gapcast_tools.usb.secrets import Secret

# What may answer when a board has something else than MicroPython in it, or half of it.
_NOTHING_THERE = ("silent", "garbage", "no_micropython")
_NO_ANSWER = (*_NOTHING_THERE, "old_micropython", "damaged", "failed")
MAC_DIGITS = 12
GLANCE_S = (4.0, 6.0)  # for what is most likely no MicroPython
Progress = Callable[[str, int, int], None]


class Job:
    """One port's provisioning.

    progress: told what goes on, how many bytes of it are done, and of how many.
    stop: ends it from another thread.
    """

    def __init__(self, port: str, plan: Plan, progress: Progress, stop: Stop) -> None:
        self.outcome = Outcome(port)
        self._plan = plan
        self._progress = progress
        self._stop = stop
        self._tool = Esptool(port, baud=plan.board.baud, progress=progress, stop=stop)
        self._mpremote = Mpremote(port, stop=stop)
        self._boot_address = plan.board.chip_facts.boot_address
        self._look: Look | None = None  # the board as MicroPython shows it, while that is known
        self._found: flashing.Found | None = None  # the flash that stays, with --app-only
        self._idf: str | None = None  # of the application in it
        self._in_loader = False
        self._fresh_key = False  # the counter of reports has been erased

    def run(self) -> Outcome:
        """Never raises, but for what is no Exception."""
        outcome = self.outcome
        start_s = time.monotonic()
        try:
            with claimed(outcome.port):
                identity = self._identify()
                self._flash(identity)
                self._join(identity)
            outcome.state = "provisioned" if outcome.changed else "unchanged"
        except PortFault as fault:
            outcome.reason, outcome.message, outcome.hint = fault.reason, str(fault), fault.hint
        except OperatorError as error:
            outcome.reason, outcome.message, outcome.hint = "failed", error.message, error.hint
        except OSError as error:  # no space for temporary files, or the like
            outcome.reason, outcome.message = "failed", f"this machine: {error}"
        except Exception as error:  # a fault of ours; its text may hold secrets
            outcome.reason, outcome.message = "failed", f"a fault in Gapcast: {where_raised(error)}"
            outcome.hint = "please report it; the other boards went on"
        if not outcome.ok:
            self._let_go()
        outcome.elapsed_s = time.monotonic() - start_s
        self._progress(outcome.state, 0, 0)
        return outcome

    def _let_go(self) -> None:
        """A board that was refused runs on."""
        if self._in_loader and not self.outcome.changed:
            with suppress(PortFault):
                self._tool.reset()

    # -- its flash ------------------------------------------------------------------------

    def _identify(self) -> Identity:
        plan = self._plan
        identity = self._tool.identify()
        self._in_loader = True
        self.outcome.id, self.outcome.chip = identity.mac, identity.chip
        sizes = plan.board.flash_bytes if plan.firmware is None else plan.firmware.flash_bytes
        flashing.check_board(identity, plan.board.chip, sizes)
        return identity

    def _flash(self, identity: Identity) -> None:
        found = flashing.look_at_flash(self._tool, self._boot_address)
        firmware = self._plan.firmware
        if firmware is None:
            self._found, self._idf = found, flashing.idf_of(self._tool, flashing.slots_of(found)[0])
        else:
            stale = flashing.stale_parts(self._tool, firmware, found, self._boot_address)
            if self._plan.erase or (stale and not self._was_updated_since(firmware, stale)):
                self._write(firmware, found, stale, identity.flash_bytes)
        if self._in_loader:
            self._tool.reset()

    def _was_updated_since(self, firmware: Firmware, stale: list[Part]) -> bool:
        """Whether only the application differs, because the board took newer ones over the air.

        The first goes to the other slot, so it takes two. The mark alone does not do: it may be of before
        a run that broke off.
        """
        otadata = firmware.table.otadata
        if [part.name for part in stale] != [firmware.parts[2].name] or otadata is None:
            return False
        if flashing.updates_taken(self._tool, otadata) < flashing.SLOTS:
            return False
        look = self._ask_what_is_there()
        return look is not None and mark_of(look.settings) == firmware.sha256

    def _write(self, firmware: Firmware, found: flashing.Found, stale: list[Part], flash_bytes: int) -> None:
        """First what has to be blank, then the parts: a table is only in flash when its places are."""
        if self._plan.erase:
            self._tool.erase_all()
            discard(saved_folder(self.outcome.id))
            stale, found = list(firmware.parts), flashing.Found(b"", None)
        file_system, nvs = flashing.moves(found.table, firmware.table, flash_bytes)
        if found.table is not None and file_system:
            self._save_files()
        self._look = None
        self._fresh_key = nvs
        self.outcome.changed += [part.name for part in stale]
        self._tool.write(flashing.blanks(firmware.table, flash_bytes, file_system, nvs))
        self._tool.write(stale, then_reset=True)
        self._in_loader = False

    def _save_files(self) -> None:
        """The user's files, also from a MicroPython that is too old for the client.

        Raises PortFault: there may be some, and they cannot be read. Only --erase does without them.
        """
        if self._in_loader:
            self._tool.reset()
            self._in_loader = False
        self._progress("saving files", 0, 0)
        try:
            save_files(self._glance(), saved_folder(self.outcome.id))
        except PortFault as fault:
            if fault.reason not in _NOTHING_THERE:
                raise

    def _ask_what_is_there(self) -> Look | None:
        """The board as its MicroPython shows it; None where nothing of that kind answers."""
        if self._look is None:
            self._tool.reset()
            self._in_loader = False
            try:
                self._look = look(self._glance())
            except PortFault as fault:
                if fault.reason not in _NO_ANSWER:
                    raise
            else:
                check_same(self._look.runtime, self.outcome)
        return self._look

    def _glance(self) -> Mpremote:
        """With less patience than for a MicroPython that must be there."""
        return Mpremote(self._mpremote.port, first_s=GLANCE_S, stop=self._stop)

    # -- its file system ------------------------------------------------------------------

    def _join(self, identity: Identity) -> None:
        """Client, settings and key onto the board, and the board into the inventory."""
        self._progress("asking MicroPython", 0, 0)
        folder = saved_folder(identity.mac)
        if self._look is None:
            self._look = look(self._mpremote)
            check_same(self._look.runtime, self.outcome)
        if folder.exists():
            self._progress("putting files back", 0, 0)
            self.outcome.changed += put_back(self._mpremote, folder, self._progress)
            self._look = None
        now = self._look or look(self._mpremote)
        self.outcome.micropython = ".".join(map(str, now.runtime.version))
        if self._found is not None:
            self.outcome.warnings += flashing.check_rollback(self._found, self._idf, now.runtime.version)
        existing = now.settings
        if self._plan.network.ssid is None and not (existing or {}).get("wifi_ssid"):
            raise PortFault("failed", "the board knows no Wi-Fi", "name one: --wifi SSID")
        key, is_new = enter_in_fleet(self._plan.state, identity.mac, self._key_of(existing))
        settings = self._plan.settings(existing, identity.mac, key)
        client = compile_client(now.runtime)
        self.outcome.changed += install(self._mpremote, client, settings, self._progress, found=now)
        self.outcome.changed += ["inventory"] if is_new else []
        self._progress("resetting", 0, 0)
        self._mpremote.reset()

    def _key_of(self, settings: dict[str, object] | None) -> Secret | None:
        """The board's report key, if it can go on: with the counter gone its reports would look replayed."""
        key = (settings or {}).get("report_key")
        return key if isinstance(key, Secret) and not self._fresh_key else None


def check_same(runtime: BoardRuntime, outcome: Outcome) -> None:
    """Raises PortFault `interrupted`: since esptool was there another board came to this port.

    An ESP32's machine.unique_id() is the MAC that esptool reads.
    """
    seen = runtime.unique_id[:MAC_DIGITS]
    if len(seen) == MAC_DIGITS and seen != outcome.id:
        message = f"another board is on {outcome.port} now: {seen}, not {outcome.id}"
        raise PortFault("interrupted", message, "leave the boards plugged in until all is done")


def where_raised(error: Exception) -> str:
    """The kind of an exception and the line it came from, without its text."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
