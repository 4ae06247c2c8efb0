"""The power supply of a simulated board: counts what is done to its flash, and fails at a chosen moment.

One operation is one erase of a sector, one program call, or one change of a value in NVS. At
operation number `cut_at` the power goes: nothing of that operation has happened, or with
`cut_half` half of it (the first half of the sector is FF; the first half of the bytes are
programmed; a value in NVS, which changes as a whole, has changed). A process that a launcher
started ends with CUT_EXIT_CODE. Elsewhere PowerCut is raised, and again by every further
operation until reset(): nothing that an except or finally does can reach the flash.
"""

import sys

import sim_exit

CUT_EXIT_CODE = 4  # the launcher switches the board on again: a power-on reset

ops = 0  # since the last reset()
slot_bytes = 0  # handed to program() of the OTA slots since then: what was downloaded, torn blocks too
log = None  # a list of "erase ota_1", "program otadata", "nvs gapcast.trial" ... when asked for
cut_at = 0  # the operation at which the power goes; 0: never
cut_half = False
_dead = False


class PowerCut(BaseException):
    """The board has no power any more. No `except Exception` may catch it."""


def reset(cut_at=0, cut_half=False, keep_log=False):
    """Power is back, and operations count from here. keep_log: fill `log`."""
    global ops, slot_bytes, log, _dead
    ops = 0
    slot_bytes = 0
    log = [] if keep_log else None
    _dead = False
    _plan(cut_at, cut_half)


def _plan(at, half):
    global cut_at, cut_half
    cut_at = at
    cut_half = half


def begin(kind, what, size_bytes=0):
    """One operation starts. True: do half of it, then call cut().

    Raises PowerCut (or ends the process) when nothing of it may happen.
    """
    global ops, slot_bytes
    if _dead:
        raise PowerCut("no power")
    ops += 1
    slot_bytes += size_bytes
    if log is not None:
        log.append(kind + " " + what)
    if ops != cut_at:
        return False
    if not cut_half:
        cut()
    return True


def cut():
    """The power goes now. Never returns."""
    global _dead
    _dead = True
    if sim_exit.launched:
        # Nothing of the board says this: it is the launcher's meter at the plug.
        sys.stdout.write('{"event": "cut", "ops": %d, "slot_bytes": %d}\n' % (ops, slot_bytes))
        sim_exit.leave(CUT_EXIT_CODE)
    raise PowerCut("power cut at operation %d" % ops)
