"""Power-on of a simulated board: boot loader, pre-boot client, application.

Started by sim_rom.py, or as `micropython -m sim_main FOLDER` with the firmware and this folder on
sys.path. The exit code says what the launcher, which plays the power supply, has to do: 3 is a
reset, 4 a power cut, 5 the watchdog's reset; after each of them it starts the board again.
"""

import gc
import sys
import time

GO_POLL_MS = 10
IDLE_MS = 50
GO_POLLS = 12000  # two minutes: then this board goes on alone


def main(folder):
    import os

    os.chdir(folder)  # where a board has its gapcast.json
    _plug_in()

    import esp32
    import sim_world

    slot = esp32.sim_power_on()
    gc.collect()
    own_bytes = gc.mem_alloc()
    import sim_report  # with modules of the client, so its own 2 KB count as the client's

    reporter = sim_report.Reporter()
    reporter.emit("boot", slot=slot, heap_own_bytes=own_bytes)
    progress = sim_report.SimProgress(reporter)
    reporter.measure()  # and collect: the boot loader's garbage is no burden of the client
    reporter.own_us = 0
    start_us = time.ticks_us()
    from gapcast_boot import agent

    if sim_world.settings["raw"]:
        _raw(agent, progress, reporter)
        return
    # What firmware/boot.py does on a real board.
    agent.run(progress, None, lambda: _hold(reporter))
    preboot_us = time.ticks_diff(time.ticks_us(), start_us) - reporter.own_us
    # From here on next to nothing is believed: see tools/gapcast_sim/events.py.
    reporter.emit("application", preboot_us=preboot_us)
    import sim_app  # no board has its application loaded before

    _start(sim_app, esp32.Partition(esp32.Partition.RUNNING), sim_app.Board(reporter, slot))


def _plug_in():
    """The hardware in place of the PC's."""
    import sim_exit
    import sim_power
    import sim_world

    sim_world.load(".")
    sim_exit.launched = True
    sim_power.reset(sim_world.settings["cut_at"], sim_world.settings["cut_half"])
    if sys.implementation.name == "cpython":
        import sim_cpython

        sim_cpython.install()
    import sim_select
    import sim_socket

    sys.modules["socket"] = sim_socket
    sys.modules["select"] = sim_select
    if sys.maxsize > 0x7FFFFFFF:  # a 32-bit process would not find it, and it takes room
        try:
            import sim_sha

            sys.modules["hashlib"] = sim_sha
        except (ImportError, OSError):  # CPython, or a PC without OpenSSL
            pass
    _seed_radio()


def _start(sim_app, partition, board):
    """The application; when it ends while a timer runs, the board idles as a REPL would."""
    import sim_timer

    try:
        sim_app.start(partition, board)
    except Exception as exc:
        if not sim_timer.armed():
            raise
        _print_exception(exc)
    while sim_timer.armed():
        time.sleep_ms(IDLE_MS)


def _print_exception(exc):
    if sys.implementation.name == "cpython":
        import traceback

        traceback.print_exception(exc)
    else:
        sys.print_exception(exc, sys.stderr)


def _raw(agent, progress, reporter):
    try:
        agent.fetch_file(agent.load_config(), "raw.bin", progress, lambda: _hold(reporter))
    except Exception as exc:
        progress.result("failed", str(exc) or repr(exc))
        sys.exit(1)
    reporter.measure()
    reporter.emit("raw", heap_peak_bytes=reporter.heap_peak_bytes)


def _hold(reporter):
    """Wait for the moment at which a fleet starts together; on a later boot it is in the past."""
    import sim_world

    at_s = sim_world.settings["at_s"]
    go_file = sim_world.settings["go_file"]
    if go_file:
        reporter.emit("ready")
        at_s = _go_moment(go_file)
    wait_s = at_s - time.time()
    if wait_s > 0:
        time.sleep(wait_s)


def _go_moment(path):
    """The moment in the file that the launcher writes when every board is ready."""
    for _poll in range(GO_POLLS):
        try:
            with open(path) as file:
                return float(file.read())
        except OSError:
            time.sleep_ms(GO_POLL_MS)
    return 0


def _seed_radio():
    import random

    import sim_world

    random.seed(sim_world.settings["seed"])


if __name__ == "__main__":
    main(sys.argv[1])
