"""Run under MicroPython and CPython by test_socket_sim.py: what simulated sockets do, as one JSON object."""

import json
import random
import sys
import time

import sim_world

sim_world.load(sys.argv[1])
if sys.implementation.name == "cpython":
    import sim_cpython

    sim_cpython.install()

import sim_socket as socket

GROUP = "239.255.77.9"
found = {}


def udp(timeout_s=0.05):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(timeout_s)
    return sock


def port_of(sock):
    """Its own port, which only a peer sees: sockets of a board have no getsockname."""
    listener = udp(1)
    for port in range(20000, 20400):
        try:
            probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        sock.sendto(b"who", ("127.0.0.1", port))
        probe.settimeout(1)
        data, address = probe.recvfrom(9)
        probe.close()
        listener.close()
        assert data == b"who"
        return address[1]
    raise OSError("no free port")


def timed(function):
    start = time.ticks_ms()
    result = function()
    return result, time.ticks_diff(time.ticks_ms(), start)


def read(sock, size=32):
    buf = bytearray(size)
    length = sock.readinto(buf)
    return [length, bytes(buf[: length or 0]).decode()]


def timeouts():
    sock = udp()
    buf = bytearray(8)
    found["timeout"], found["timeout_ms"] = timed(lambda: sock.readinto(buf))
    found["recv_timeout"] = timed(lambda: errno_of(lambda: sock.recv(8)))
    sock.settimeout(0)
    found["no_timeout"] = timed(lambda: sock.readinto(buf))
    for name, seconds in (("100", 0.1), ("250", 0.25)):
        sock.settimeout(seconds)
        found["readinto_" + name] = timed(lambda: errno_of(lambda: sock.readinto(buf)))
        found["recv_" + name] = timed(lambda: errno_of(lambda: sock.recv(8)))
    new = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found["new"] = errno_of(lambda: new.recv(8))
    sock.close()


def errno_of(function):
    try:
        function()
    except OSError as exc:
        return exc.errno
    return 0


def framing():
    sock, sender = udp(), udp()
    to = ("127.0.0.1", port_of(sock))
    found["resolved"] = list(socket.getaddrinfo("127.0.0.1", 6969)[0][-1])
    found["sender_port"] = port_of(sender)
    sender.sendto(b"hi", to)
    found["from"] = list(sock.recvfrom(9)[1])

    sender.sendto(b"f" * 32, to)
    result, found["full_ms"] = timed(lambda: read(sock))
    found["full"] = result[0]
    for text in (b"a", b"b", b"c"):
        sender.sendto(text * 10, to)
    found["merged"] = read(sock)
    sender.sendto(b"a" * 10, to)
    sender.sendto(b"b" * 32, to)
    found["cut"] = read(sock)
    sender.sendto(b"z" * 50, to)
    found["oversize"] = read(sock)
    sender.sendto(b"a" * 10, to)
    found["partial"] = read(sock)
    sock.settimeout(0.1)
    sender.sendto(b"lost" * 2, to)
    found["partial_late"] = errno_of(lambda: read(sock))
    sock.settimeout(0.05)

    sender.sendto(b"", to)
    found["deaf"] = []
    for _again in range(3):
        sender.sendto(b"x" * 32, to)
        result, spent_ms = timed(lambda: read(sock))
        found["deaf"].append(result[0])
    found["deaf_ms"] = spent_ms
    other = udp()
    to = ("127.0.0.1", port_of(other))
    sender.sendto(b"", to)
    found["deaf_recv"] = []
    for _again in range(3):
        found["deaf_recv"].append(other.recv(9).decode())
        sender.sendto(b"x", to)
    for one in (sock, sender, other):
        one.close()


def groups():
    sender, stranger = udp(), udp()
    port = port_of(sender)
    interface = bytes([127, 0, 0, 1])

    def join(source):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", 21758))
        sock.setsockopt(0, socket.IP_ADD_MEMBERSHIP, bytes([239, 255, 77, 9]) + interface)
        sock.connect(source)
        sock.settimeout(0.05)
        return sock

    for sock in (sender, stranger):
        sock._sock.setsockopt(0, 32, interface)  # IP_MULTICAST_IF, which only this test's server needs
    group = join(("127.0.0.1", port))
    try:
        group.setsockopt(0, socket.IP_ADD_MEMBERSHIP, b"1234")
    except ValueError:
        found["membership"] = "ValueError"
    stranger.sendto(b"x" * 4, (GROUP, 21758))
    found["foreign"] = read(group, 4)[0]
    for name in ("heard", "heard_again"):
        random.seed(sim_world.settings["seed"])
        found[name] = []
        for number in range(300):
            sender.sendto(bytes([number >> 8, number & 255]), (GROUP, 21758))
            if number % 3 == 2:
                drain(group, found[name])
        if name == "heard":
            found["lost"] = group.lost
    group.close()


def drain(sock, heard):
    """What waits in the queue, without the 100 ms that its emptiness costs."""
    sock.settimeout(0)
    buf = bytearray(2)
    while sock.readinto(buf):
        heard.append(buf[0] << 8 | buf[1])
    sock.settimeout(0.05)


def queues():
    sock, sender = udp(), udp()
    to = ("127.0.0.1", port_of(sock))
    buf = bytearray(1028)
    count = 0
    for _round in range(25):
        for _datagram in range(4):
            sender.sendto(b"q" * 1028, to)
        for _datagram in range(4):
            count += 1 if sock.readinto(buf) == 1028 else 0
    found["unicast"] = count
    for _datagram in range(40):
        sender.sendto(b"q" * 1028, to)
    count = 0
    while sock.readinto(buf):
        count += 1
    found["queued"] = count
    try:
        socket.socket(socket.AF_INET, 1)
    except OSError:
        found["stream"] = "OSError"


def bursts(burst, loss_1000):
    """[datagrams lost of 100,000, runs of them]"""
    sim_world.settings["loss_1000"] = loss_1000
    sim_world.settings["loss_burst"] = burst
    sock = udp()
    sock._join(bytes([239, 255, 77, 9, 127, 0, 0, 1]))
    runs = 0
    came = True
    for _datagram in range(100000):
        before = came
        came = sock._survives()
        runs += before and not came
    return [sock.lost, runs]


timeouts()
framing()
groups()
queues()
for burst, loss_1000 in ((1, 100), (8, 100), (2, 300)):
    found["burst_%d" % burst] = bursts(burst, loss_1000)
print(json.dumps(found))
