"""What the tests of the shared core have instead of pytest: they run under MicroPython too."""

import binascii

from gapcast_core.errors import PeerError, UsageError


def refused(reason, function, *arguments):
    """Assert that the call raises PeerError with this reason; the TFTP error code that answers it."""
    try:
        result = function(*arguments)
    except PeerError as error:
        if error.reason == reason:
            return error.code
        raise AssertionError("refused as %s, not as %s" % (error.reason, reason))
    raise AssertionError("no PeerError %s, but %r" % (reason, result))


def misused(function, *arguments, **named):
    """Assert that the call raises UsageError."""
    try:
        result = function(*arguments, **named)
    except UsageError:
        return
    raise AssertionError("no UsageError, but %r" % (result,))


def survives(function, *arguments):
    """The call's result, or None for a PeerError; any other exception is a failed test."""
    try:
        return function(*arguments)
    except PeerError:
        return None


def unhex(text):
    """Bytes of hex digits with blanks between them."""
    return binascii.unhexlify(text.replace(" ", "").replace("\n", ""))


class Dice:
    """Reproducible random numbers, the same under both Pythons (the C standard's example generator)."""

    def __init__(self, seed):
        self._state = seed

    def below(self, bound):
        self._state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self._state >> 12) % bound

    def percent(self, chance):
        return self.below(100) < chance
