"""One end of a NORM session (RFC 5740) through the C library, by ctypes: as much as the bench needs.

    python norm.py receive OWN_ID OUT                    says "ready", then "done" when the file is complete
    python norm.py send OWN_ID FILE RATE_BPS             until killed

Runs on its own, without the rest of the bench, so that two hundred of it start quickly. Names and types are
those of the library's normApi.h 1.5.
"""

import ctypes
import sys
import time

LIBRARY = "libnorm.so.1"
GROUP = b"239.255.5.7"
PORT = 6003
INTERFACE = b"eth0"
BUFFER_BYTES = 8 << 20
SEGMENT_BYTES = 1400
BLOCK_SEGMENTS = 64
PARITY_SEGMENTS = 32
# By trial at 6 Mbit/s, as multiples of image bits / rate. 50 receivers at 10 %: 1.57, twice; with a back-off
# of 2, 1.7 to 2.1; without the upper limit of the round trip's estimate 2.8 to 3.8 (on a busy machine NORM
# believes in long ways); told the true size of the group 1.7. 10 receivers at 20 %: 1.5 to 1.7 with all of
# these, 1.9 with the library's defaults; blocks of 32, 128 and 200, or twice the parity, are no better.
BACKOFF = 1.0
GRTT_S = 0.01
GRTT_MAX_S = 0.05
GROUP_SIZE = 10
EVENT_POLL_S = 0.01
EVENT_OBJECT_COMPLETED = 20
EVENT_OBJECT_ABORTED = 21


class Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("session", ctypes.c_void_p),
        ("sender", ctypes.c_void_p),
        ("object", ctypes.c_void_p),
    ]


def load():
    """The library with the types of what is called here."""
    norm = ctypes.CDLL(LIBRARY)
    handle, u16, u32, flag = ctypes.c_void_p, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_bool
    number, text = ctypes.c_double, ctypes.c_char_p
    signatures = {
        "NormCreateInstance": (handle, [flag]),
        "NormGetNextEvent": (flag, [handle, ctypes.POINTER(Event), flag]),
        "NormCreateSession": (handle, [handle, text, u16, u32]),
        "NormSetMulticastInterface": (flag, [handle, text]),
        "NormSetRxSocketBuffer": (flag, [handle, ctypes.c_uint]),
        "NormSetTxRate": (None, [handle, number]),
        "NormSetGrttEstimate": (None, [handle, number]),
        "NormSetGrttMax": (None, [handle, number]),
        "NormSetBackoffFactor": (None, [handle, number]),
        "NormSetGroupSize": (None, [handle, ctypes.c_uint]),
        "NormStartSender": (flag, [handle, u16, u32, u16, u16, u16, ctypes.c_uint8]),
        "NormStartReceiver": (flag, [handle, u32]),
        "NormDataEnqueue": (handle, [handle, text, u32, text, ctypes.c_uint]),
        "NormDataAccessData": (handle, [handle]),
        "NormObjectGetSize": (ctypes.c_longlong, [handle]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(norm, name)
        function.restype, function.argtypes = result, arguments
    return norm


def check(value, what):
    if not value:
        sys.exit(f"{what} failed")
    return value


def session_of(norm, own_id):
    instance = check(norm.NormCreateInstance(False), "NormCreateInstance")
    session = check(norm.NormCreateSession(instance, GROUP, PORT, own_id), "NormCreateSession")
    check(norm.NormSetMulticastInterface(session, INTERFACE), "NormSetMulticastInterface")
    return instance, session


def events(norm, instance):
    """Looked for now and then: to be woken for each packet would cost as much as NORM itself."""
    event = Event()
    while True:
        while norm.NormGetNextEvent(instance, ctypes.byref(event), False):
            yield event
        time.sleep(EVENT_POLL_S)


def receive(own_id, out):
    norm = load()
    instance, session = session_of(norm, int(own_id))
    check(norm.NormStartReceiver(session, BUFFER_BYTES), "NormStartReceiver")
    norm.NormSetRxSocketBuffer(session, BUFFER_BYTES // 4)
    print("ready", flush=True)
    for event in events(norm, instance):
        if event.type == EVENT_OBJECT_COMPLETED:
            size = norm.NormObjectGetSize(event.object)
            data = ctypes.string_at(norm.NormDataAccessData(event.object), size)
            with open(out, "wb") as file:
                file.write(data)
            print("done", flush=True)
        elif event.type == EVENT_OBJECT_ABORTED:
            sys.exit("the object was aborted")


def send(own_id, path, rate_bps):
    norm = load()
    with open(path, "rb") as file:
        data = file.read()
    instance, session = session_of(norm, int(own_id))
    norm.NormSetTxRate(session, float(rate_bps))
    norm.NormSetGrttEstimate(session, GRTT_S)
    norm.NormSetGrttMax(session, GRTT_MAX_S)
    norm.NormSetBackoffFactor(session, BACKOFF)
    norm.NormSetGroupSize(session, GROUP_SIZE)
    sizes = (SEGMENT_BYTES, BLOCK_SEGMENTS, PARITY_SEGMENTS)
    check(norm.NormStartSender(session, 1, BUFFER_BYTES, *sizes, 0), "NormStartSender")
    check(norm.NormDataEnqueue(session, data, len(data), None, 0), "NormDataEnqueue")
    print("sending", flush=True)
    for _event in events(norm, instance):
        pass


if __name__ == "__main__":
    {"receive": receive, "send": send}[sys.argv[1]](*sys.argv[2:])
