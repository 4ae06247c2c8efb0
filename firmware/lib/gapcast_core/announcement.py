"""The datagram that tells boards whose application runs that there is a new image (PROTOCOL.md section 13).

It is an OACK that nobody asked for, to a fixed group. Anybody can send one, so it is a hint to ask
the server and nothing more.
"""

from . import options as opt
from . import wire
from .errors import PeerError, UsageError

# RFC 2365: the IPv4 Local Scope, which no router forwards, and apart from the groups of sessions
# (239.192.0.0/14). The port is below those of sessions (20000 on): an ESP32 hears each group that it has
# joined at each port that it has bound.
GROUP = "239.255.71.80"
PORT = 19350
MAX_BYTES = 512  # as a request: a board reads no more
MAX_WAIT_MS = 15000  # so long a board may be told to wait for the others
CONTENT_ID_CHARS = 32

_IMAGE = "image"
_GAP = "gap"
_WAIT = "wait"


def pack_announcement(name, content_id, wait_ms):
    """The datagram. name: as boards ask for it, without `.hdr`. content_id: 32 hex digits.

    wait_ms: in how many milliseconds boards come in, all together.
    Raises UsageError for a wait that is too long, or a name that makes more than 512 bytes.
    """
    if not 0 <= wait_ms <= MAX_WAIT_MS:
        raise UsageError("wait of %d ms" % wait_ms)
    out = wire.pack_oack([(_IMAGE, name), (_GAP, content_id), (_WAIT, "%d" % wait_ms)])
    if len(out) > MAX_BYTES:
        raise UsageError("announcement of %d bytes, at most %d" % (len(out), MAX_BYTES))
    return out


def parse_announcement(data):
    """(name, content id, wait in ms). Further options are for later versions, and mean nothing.

    Raises PeerError: `not_an_announcement`, and what wire.parse_oack and options.parse_number raise.
    """
    options = wire.parse_oack(data)
    name = wire.option(options, _IMAGE)
    content_id = wire.option(options, _GAP)
    wait = wire.option(options, _WAIT)
    if not name or wait is None or content_id is None or len(content_id) != CONTENT_ID_CHARS:
        raise PeerError("not_an_announcement", wire.ERR_ILLEGAL)
    return name, content_id, opt.parse_number(wait, 0, MAX_WAIT_MS)
