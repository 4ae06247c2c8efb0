"""`machine.Timer` and `machine.WDT` of a simulated board.

Semantics as in ports/esp32/machine_timer.c and machine_wdt.c: ids 0 to 3 are hardware timers, the
same id is the same timer; a callback runs in the main program, between two of its bytecodes and
inside sleep and poll too, and what it raises is only printed. The watchdog cannot be stopped.

They tick when a launcher watches the process (sim_exit.launched). In a test's own process they
are only armed, so that none goes off in another test: fire() plays that moment.
"""

import _thread
import sys
import time

import sim_exit

TIMERS = 4
_TICK_MS = 10
_SIGNAL = 10  # SIGUSR1: ends the main program's sleep, so that it looks at what is scheduled
_ON_CPYTHON = sys.implementation.name == "cpython"

_timers = {}
_wake = None
_due = []  # CPython: what the signal's handler has to run
_watchdog = None


class _Hardware:
    """One hardware timer; a new generation makes the threads of the older ones end."""

    def __init__(self):
        self.generation = 0
        self.armed = False
        self.repeats = False
        self.period_ms = 0
        self.callback = None
        self.timer = None

    def stop(self):
        self.generation += 1
        self.armed = False

    def tick(self, generation):
        """The body of a thread."""
        while self.generation == generation:
            left_ms = self.period_ms
            start = time.ticks_ms()
            while left_ms > 0 and self.generation == generation:
                time.sleep_ms(min(left_ms, _TICK_MS))
                left_ms = self.period_ms - time.ticks_diff(time.ticks_ms(), start)
            if self.generation != generation:
                return
            _post(self)
            if not self.repeats:
                return

    def fire(self):
        """Call back, in the main program."""
        if not self.armed:
            return
        self.armed = self.repeats
        if self.callback is not None:
            self.callback(self.timer)


class Timer:
    ONE_SHOT = 0
    PERIODIC = 1

    def __init__(self, number, **options):
        if not 0 <= number < TIMERS:
            raise ValueError("invalid Timer number, max %d" % TIMERS)
        if number not in _timers:
            _timers[number] = _Hardware()
        self._hardware = _timers[number]
        if options:
            self.init(**options)

    def init(self, mode=PERIODIC, callback=None, period=0xFFFFFFFF):
        hardware = self._hardware
        hardware.stop()
        hardware.repeats = mode == self.PERIODIC
        hardware.period_ms = period
        hardware.callback = callback
        hardware.timer = self
        hardware.armed = True
        if sim_exit.launched:
            _prepare()
            _thread.start_new_thread(hardware.tick, (hardware.generation,))

    def deinit(self):
        self._hardware.stop()


class WDT:
    """Resets the board unless it is fed in time."""

    def __init__(self, id=0, timeout=5000):
        global _watchdog
        if id != 0:
            raise ValueError("id")
        if timeout <= 0:
            raise ValueError("WDT timeout too short")
        first = _watchdog is None
        _watchdog = self
        self.timeout_ms = timeout
        self._fed = time.ticks_ms()
        if first and sim_exit.launched:
            _thread.start_new_thread(_watch, ())

    def feed(self):
        self._fed = time.ticks_ms()

    def is_hungry(self):
        return time.ticks_diff(time.ticks_ms(), self._fed) > self.timeout_ms


def armed():
    """True while a timer is going to call back, or a watchdog to bite."""
    return _watchdog is not None or any(_timers[number].armed for number in _timers)


def fire():
    """For tests in one process: every armed timer's period is over now."""
    for number in sorted(_timers):
        _timers[number].fire()


def stop_all():
    """Power-on: no timer runs."""
    global _watchdog
    _watchdog = None
    for number in _timers:
        _timers[number].stop()


def _watch():
    while not _watchdog.is_hungry():
        time.sleep_ms(_TICK_MS)
    sim_exit.leave(sim_exit.WDT_EXIT_CODE)


def _prepare():
    """What wakes the main program up; prepared by itself, before there is another thread."""
    global _wake
    if _wake is not None:
        return
    if _ON_CPYTHON:
        import signal

        main = _thread.get_ident()  # whoever makes the first timer is the main program
        signal.signal(_SIGNAL, _handle)
        _wake = lambda: signal.pthread_kill(main, _SIGNAL)  # noqa: E731 - as in the other branch
    else:
        host = sim_exit.host()
        process = host.func("i", "getpid", "")()
        kill = host.func("i", "kill", "ii")
        # abs() as the handler: it does nothing, but with one the signal ends a sleep early.
        host.func("p", "signal", "ip")(_SIGNAL, host.addr("abs"))
        _wake = lambda: kill(process, _SIGNAL)  # noqa: E731


def _post(hardware):
    """From a timer's thread: let the main program call back soon."""
    if _ON_CPYTHON:
        _due.append(hardware)
    else:
        import micropython

        while True:
            try:
                micropython.schedule(_Hardware.fire, hardware)
                break
            except RuntimeError:  # the queue is full: as an interrupt that comes again
                time.sleep_ms(1)
    _wake()


def _handle(_number, _frame):
    while _due:
        try:
            _due.pop(0).fire()
        except Exception as exc:
            sys.stderr.write("Timer callback: %r\n" % (exc,))
