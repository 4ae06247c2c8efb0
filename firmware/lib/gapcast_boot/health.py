"""For applications: say that this firmware is healthy, so that it is kept.

    from gapcast_boot import health

    def main():
        while True:
            health.alive()      # quick: call it as often as you like
            ...

    health.run(main)

After an update the new firmware is on trial. `alive` confirms it when the network is up and the
application's own check is true. Without that within `health_ms` (gapcast.json, one minute), or
after an exception in `run`, the reason is written down, the board resets, and the boot loader
starts the old firmware again.

Until then one hardware timer is in use, number 3 or, on chips with fewer, the last.
"""

import machine

from . import trial as trials
from .config import DEFAULTS
from .journal import Journal

_TIMERS = (3, 1, 0)
_HEALTH_MS = (100, 3600000)  # what makes sense of `health_ms`: without a deadline a hang is for ever


class _State:
    """Of the one board that this is."""

    def __init__(self):
        self.known = False  # whether this firmware is on trial
        self.trial = None  # not over yet
        self.config = None
        self.nic = None
        self.timer = None
        self.confirming = False
        self.late = False
        self.kept = False  # nothing (more) to confirm
        self.why = "the application never called health.alive()"
        self.on_confirmed = None


_state = _State()


def begin(trial, config, on_confirmed=None):
    """Pre-boot found that this firmware is on trial: the time runs. None: it is not.

    on_confirmed(version) is told.
    """
    global _state
    _state = _State()
    _state.known = True
    _state.trial = trial
    _state.config = config
    _state.on_confirmed = on_confirmed
    if trial is None:
        return
    if config["health"] == "boot":
        _state.why = trials.UNREACHED
    for number in _TIMERS:
        try:
            _state.timer = machine.Timer(number)
        except ValueError:  # a chip with fewer timers
            continue
        period_ms = _health_ms(config)
        _state.timer.init(mode=machine.Timer.ONE_SHOT, period=period_ms, callback=_deadline)
        return


def _health_ms(config):
    """The setting, or the default for what is none."""
    period_ms = config["health_ms"]
    is_number = isinstance(period_ms, int) and not isinstance(period_ms, bool)
    if is_number and _HEALTH_MS[0] <= period_ms <= _HEALTH_MS[1]:
        return period_ms
    return DEFAULTS["health_ms"]


def use_network(nic):
    """The network that must be up for `alive` to confirm; None: the Wi-Fi station."""
    _state.nic = nic


def interface():
    """The network of this board: pre-boot's, or the Wi-Fi station.

    Raises OSError; ImportError or AttributeError in a build without Wi-Fi.
    """
    nic = _state.nic
    if nic is None:
        import network

        nic = network.WLAN(network.STA_IF)
    return nic


def on_trial():
    """Whether this firmware is on trial, and not confirmed yet."""
    if not _state.known:
        _look()
    return _state.trial is not None


def alive(check=None):
    """The application works. True when there is nothing (more) to confirm.

    check: called until it was true once; what it returns says whether the application is healthy.
    When it raises on trial, the firmware is given up at once.
    """
    if _state.kept:
        return True
    if not _state.known:
        _look()
        return _state.trial is None
    healthy = _is_healthy(check)
    if _state.trial is None:
        if healthy:
            # The boot loader may wait for it all the same: NVS has been erased, or another tool flashed it.
            trials.keep_running()
            _state.kept = True
        return True
    if healthy:
        confirm()
    return healthy


def _is_healthy(check):
    if not _is_online():
        _state.why = "the network was not up"
        return False
    if check is None:
        return True
    try:
        healthy = check()
    except Exception as exc:
        if _state.trial is not None:
            _give_up("health check: %s: %s" % (type(exc).__name__, exc))
        raise
    if not healthy:
        _state.why = "the application's health check was never true"
        return False
    return True


def run(main):
    """Run the application's `main`; an exception of it while on trial ends the trial at once."""
    try:
        return main()
    except Exception as exc:
        if not _state.known:
            _look()
        if _state.trial is not None:
            _give_up("%s: %s" % (type(exc).__name__, exc))
        raise


async def watch(check=None, every_ms=1000):
    """`alive` for asyncio: a task that ends when the firmware is confirmed."""
    import asyncio

    while not alive(check):  # noqa: ASYNC110 - the application's check is no event
        await asyncio.sleep(every_ms / 1000)


def confirm():
    """Keep this firmware, whatever the application says of itself; the server is told."""
    trial = _state.trial
    if trial is None or _state.confirming:
        return
    journal = Journal()
    _state.confirming = True  # from here on the deadline waits
    try:
        trials.confirm(journal, trial, _news(journal))
        _state.trial = None
        _state.kept = True
    finally:
        _state.confirming = False
        if _state.trial is not None and _state.late:
            _give_up("it could not be confirmed")
    if _state.timer is not None:
        _state.timer.deinit()
        _state.timer = None
    if _state.on_confirmed is not None:
        _state.on_confirmed(trial.version)
        _state.on_confirmed = None
    _report(journal)


def _look():
    """Pre-boot did not get as far as to say whether this is a trial (or this is no boot)."""
    try:
        _state.trial = trials.running(Journal())
    except OSError:
        _state.trial = None  # no NVS, no trial
    _state.known = True  # last: without memory it has to look again


def _is_online():
    try:
        return interface().isconnected()
    except (OSError, AttributeError, ImportError):  # or a build without Wi-Fi
        return False


def _news(journal):
    from .news import News

    return News(journal, settings())


def settings():
    """The board's settings: pre-boot's, or those of gapcast.json, or the defaults."""
    if _state.config is None:
        from .config import load_config

        try:
            _state.config = load_config()
        except (OSError, ValueError):
            _state.config = dict(DEFAULTS)
    return _state.config


def _report(journal):
    """Tell the server, once, for at most a second; what does not get through goes with the next boot."""
    from . import port

    config = settings()
    if _state.nic is None or not config["server"] or not journal.get("news"):
        return
    try:
        server = port.resolve(config["server"], config["port"])
        _news(journal).deliver(server, _state.nic.ifconfig()[0], port.Clock())
    except Exception as exc:  # an application that is healthy must not fail by telling so
        print("gapcast: report:", exc)


def _deadline(_timer):
    """The timer's callback, between any two steps of the application."""
    if _state.trial is None:
        return
    if _state.confirming:
        _state.late = True
        return
    _give_up(_state.why)


def _give_up(reason):
    """Write down why, and reset: the boot loader goes back. Does not return."""
    try:
        Journal().put_text("reason", reason)
    except OSError:
        pass
    machine.reset()
