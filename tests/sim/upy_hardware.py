"""Run under MicroPython and CPython by test_hardware_sim.py: one story of a board's hardware a process.

python upy_hardware.py FOLDER STORY. How the process ends is what the test looks at.
"""

import sys
import time

import sim_exit
import sim_world

sim_world.load(sys.argv[1])
sim_exit.launched = True
if sys.implementation.name == "cpython":
    import sim_cpython

    sim_cpython.install()

import esp32
import machine
import sim_power

FAR_MS = 20000  # longer than the test waits


def arm(period_ms=150, mode=machine.Timer.ONE_SHOT, callback=lambda _timer: machine.reset()):
    timer = machine.Timer(0)
    timer.init(mode=mode, period=period_ms, callback=callback)
    return timer


def hang():
    arm()
    while True:
        pass


def sleep():
    arm()
    time.sleep(FAR_MS // 1000)


def sleep_ms():
    arm()
    time.sleep_ms(FAR_MS)


def poll():
    import sim_select
    import sim_socket

    sock = sim_socket.socket()
    sock.bind(("127.0.0.1", 0))
    poller = sim_select.poll()
    poller.register(sock, sim_select.POLLIN)
    arm()
    for _event in poller.ipoll(FAR_MS):
        pass


def deinit():
    arm(50).deinit()
    time.sleep_ms(200)


def again():
    """A second init() of the same timer replaces the first."""
    arm(50)
    arm(FAR_MS)
    time.sleep_ms(200)


def periodic():
    seen = []

    def callback(timer):
        seen.append(timer)
        if len(seen) == 3:
            machine.reset()

    arm(40, machine.Timer.PERIODIC, callback)
    while True:
        pass


def raising():
    """What a callback raises is printed, and the program goes on."""

    def callback(_timer):
        raise ValueError("in the callback")

    arm(50, machine.Timer.ONE_SHOT, callback)
    time.sleep_ms(200)
    print("went on")


def hungry():
    machine.WDT(timeout=100)
    while True:
        pass


def fed():
    dog = machine.WDT(timeout=1000)
    for _meal in range(20):
        time.sleep_ms(100)
        dog.feed()
    print("alive")
    machine.reset()


def cut():
    """The second operation is cut in half; nothing after it happens, not even in a finally."""
    slot = esp32.Partition("ota_1")
    sim_power.reset(2, True)
    slot.writeblocks(0, b"\0" * 8, 0)
    try:
        slot.writeblocks(1, b"\0" * 8, 0)
    finally:
        slot.writeblocks(2, b"\0" * 8, 0)


def cut_in_callback():
    def callback(_timer):
        esp32.NVS("gapcast").set_i32("x", 1)

    sim_power.reset(1)
    arm(50, machine.Timer.ONE_SHOT, callback)
    while True:
        pass


def nvs():
    """Values as they are in another process: see the test."""
    store = esp32.NVS("gapcast")
    try:
        count = store.get_i32("count")
    except OSError as exc:
        print(exc.args[0], exc.args[1])
        count = 0
    store.set_i32("count", count + 1)
    store.set_blob("trial", b"\0\xff" * (count + 1))
    store.commit()
    room = bytearray(8)
    print(count, store.get_blob("trial", room), room[:4] == b"\0\xff\0\xff")


globals()[sys.argv[2]]()
