"""The chip itself: what is on the line, in its loaders and in its program, one turn after the other."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator

from gapcast_sim.chip.commands import SYNC_DATA
from gapcast_sim.chip.faults import Faults, Meddler
from gapcast_sim.chip.flash import Step
from gapcast_sim.chip.line import Line
from gapcast_sim.chip.loader import Action, Exit, Hardware, Loader, Wait
from gapcast_sim.chip.program_api import Program
from gapcast_sim.chip.rom import RomLoader
from gapcast_sim.chip.slip import Decoder, encode
from gapcast_sim.chip.stub import StubLoader
from gapcast_sim.chip.syncwatch import SyncWatch
from gapcast_sim.chip.wire import Wire

_LOOK_S = 0.02  # how often to look whether a host has opened the port: nothing tells
_MAX_PENDING_BYTES = 65536  # on the line, in each direction: what the kernel keeps for a port
_KEYS = frozenset(b"\x01\x02\x03\x04\x05\r\n")  # what a terminal and mpremote begin with


class Core:
    """One chip with its flash, its line and what runs on it. All calls are from one thread."""

    def __init__(
        self, hardware: Hardware, line: Line, program: Program, *, pacing: bool, faults: Faults
    ) -> None:
        self.line = line
        self._hw = hardware
        self._program = program
        self._rx, self._tx = Wire(pacing), Wire(pacing)
        self._meddler = Meddler(faults)
        self._watch = SyncWatch()
        self._decoder = Decoder()
        self._loader: Loader | None = None  # None: the program runs
        self._actions: Iterator[Action] = iter(())
        self._step: Step | None = None  # the flash is busy with it
        self._busy_until = 0.0
        self._stays = False  # in its loader, although the host closes the port
        self._host = False  # a host has the port open
        self._out = b""  # for its kernel, which does not take more
        self._blocked = False

    # ---- from outside ----

    @property
    def received_bytes(self) -> int:
        """From the host, since the cable or the faults are what they are."""
        return self._meddler.rx_bytes

    @property
    def mode(self) -> str:
        """off, program, rom, stub."""
        if not self.line.plugged:
            return "off"
        return "program" if self._loader is None else "rom" if isinstance(self._loader, RomLoader) else "stub"

    @property
    def busy(self) -> bool:
        """Whether its flash is erasing or programming."""
        return self._step is not None

    def inject(self, faults: Faults) -> None:
        """From now on these; their counters begin at 0."""
        self._meddler = Meddler(faults)

    def plug(self, faults: Faults) -> None:
        """Power, and a port: the chip boots. One that is plugged in only gets the faults."""
        self.inject(faults)
        if self.line.plugged:
            return
        self.line.plug()
        self._boot()

    def reset(self) -> None:
        """The button on the board: boot, if there is power."""
        if self.line.plugged:
            self._drop_output()
            self._boot()

    def pull(self) -> None:
        """No power and no port; what the flash was doing stays half done."""
        if self._step is not None:
            self._step.cut(self._hw.flash, self._meddler.rng)
        self._leave_loader()
        self._program.stop()
        self._rx.clear()
        self._drop_output()
        self._host = False
        self.line.unplug()

    # ---- one turn ----

    def turn(self, wake: int) -> None:
        """Wait until something is due or arrives (on the line, from the program, at `wake`), and do it."""
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        program = self._program.fileno() if self._program_may_print() else -1
        if program >= 0:
            poll.register(program, select.POLLIN)
        line = self._line_events()
        if line:
            poll.register(self.line, line)
        ready = {fd for fd, _ in poll.poll(self._timeout_ms())}
        if not self.line.plugged:
            return
        self._blocked = False
        self._look_for_host(self.line.fileno() in ready)
        if program in ready:
            self._print()
        self._work()

    def _program_may_print(self) -> bool:
        return self.mode == "program" and self._tx.pending_bytes < _MAX_PENDING_BYTES

    def _line_events(self) -> int:
        if not self.line.plugged or not self._host:
            return 0
        reading = self._rx.pending_bytes < _MAX_PENDING_BYTES
        return (select.POLLIN if reading else 0) | (select.POLLOUT if self._blocked else 0)

    def _timeout_ms(self) -> float | None:
        if not self.line.plugged:
            return None
        due = [self._rx.due_at(), None if self._blocked else self._tx.due_at()]
        due.append(self._busy_until if self._step is not None and not self._meddler.stuck else None)
        due.append(self._watch.held_until if self._watch.held else None)
        now = time.monotonic()
        due.append(now + _LOOK_S if not self._host else None)
        at = min((moment for moment in due if moment is not None), default=None)
        return None if at is None else max(at - now, 0.0) * 1000

    def _work(self) -> None:
        """Everything that is due by now."""
        now = time.monotonic()
        while self.line.plugged and (data := self._rx.pop(now)):
            self._receive(data, now)
        if self._watch.held and now >= self._watch.held_until:
            self._program.feed(self._watch.release())
        if not self._meddler.stuck:
            self._run_loader(now)
        while self.line.plugged and not self._blocked and (self._out or self._tx.pending_bytes):
            if not self._send(now):
                break
        if self.line.plugged:
            self._reset_if_left()

    # ---- the line ----

    def _look_for_host(self, readable: bool) -> None:
        if not self._host:
            self._host = self.line.opened()
            readable = self._host
        if not readable:
            return
        data = self.line.read()
        if data is None:
            self._host = False
            self._drop_output()
        elif data:
            self._rx.push(data, time.monotonic(), self.line.speed())

    def _receive(self, data: bytes, now: float) -> None:
        """Bytes have arrived at the chip."""
        data, out = self._meddler.receive(data)
        if data:
            self._take(data, now)
        if out:
            self.pull()

    def _take(self, data: bytes, now: float) -> None:
        if self._loader is None:
            for_program, sync = self._watch.feed(data, now)
            if for_program:
                self._program.feed(for_program)
            if sync:
                self._enter_rom()
                self._take(sync, now)
        elif not self._decoder.inside and _KEYS.issuperset(data):  # somebody wants the program
            self._boot()
            self._program.feed(data)
        else:
            for frame in self._decoder.feed(data):
                if frame.endswith(SYNC_DATA):  # a new run of esptool: only its own end counts
                    self._stays = False
                    if isinstance(self._loader, StubLoader):
                        self._enter_rom()  # it has reset the chip, only the pty could not tell
                self._loader.inbox.append(frame)

    def _send(self, now: float) -> bool:
        """Hand what has arrived at the host to its kernel; False if nothing is due."""
        out = False
        if not self._out:
            self._out, out = self._meddler.send(self._tx.pop(now))
        sent = bool(self._out)
        if self._host and self._out:
            self._out = self._out[self.line.write(self._out) :]
            self._blocked = bool(self._out)
        if out:
            self.pull()
        return sent

    def _drop_output(self) -> None:
        self._tx.clear()
        self._out = b""

    def _print(self) -> None:
        self._transmit(self._program.read())

    def _transmit(self, data: bytes) -> None:
        """The chip sends; nobody hears it while the port is closed."""
        if self._host and data and not self._meddler.stuck:
            self._tx.push(data, time.monotonic(), self.line.speed())

    # ---- loaders ----

    def _enter_rom(self) -> None:
        self._program.stop()
        self._leave_loader()
        self._drop_output()
        self._begin(RomLoader(self._hw))

    def _begin(self, loader: Loader) -> None:
        self._loader = loader
        self._actions = loader.run()

    def _leave_loader(self) -> None:
        self._loader, self._actions, self._step = None, iter(()), None
        self._stays = False
        self._decoder = Decoder()
        self._watch = SyncWatch()

    def _boot(self) -> None:
        """A reset into flash."""
        self._leave_loader()
        self._program.stop()
        self._program.start()

    def _run_loader(self, now: float) -> None:
        """Carry out the loader's actions until it waits for a frame, or the flash is busy."""
        if self._step is None:
            self._busy_until = now
        while self._loader is not None:
            if self._step is not None:
                if now < self._busy_until:
                    return
                self._step.apply(self._hw.flash)
                self._step = None
            action = next(self._actions, None)
            if action is None:
                self._switch(self._loader.exit)
            elif isinstance(action, bytes):
                self._transmit(encode(action))
            elif isinstance(action, Wait):
                if not self._loader.inbox:
                    return
            else:
                self._step = action
                self._busy_until += action.duration_s

    def _switch(self, to: Exit | None) -> None:
        if to is Exit.STUB:
            self._begin(StubLoader(self._hw))
        elif to is Exit.ROM:
            self._begin(RomLoader(self._hw))
            self._stays = True
        else:
            self._boot()

    def _reset_if_left(self) -> None:
        """The host has closed the port, as esptool does after its hard reset, and nothing is left to do."""
        if self._loader is None or self._host or self._stays:
            return
        if not self._rx.pending_bytes and self._step is None and not self._loader.inbox:
            self._boot()
