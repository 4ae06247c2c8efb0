"""TFTP datagrams: RFC 1350 section 5 and RFC 2347, packed and parsed.

Every parser takes bytes from the network, checks each length before it reads, and can leave
only by returning or by PeerError. The board's hot path does not come through here: it reads
the four header bytes of a DATA in place (receiver.py).
"""

from .errors import PeerError, UsageError

OP_RRQ = 1
OP_WRQ = 2
OP_DATA = 3
OP_ACK = 4
OP_ERROR = 5
OP_OACK = 6

# RFC 1350 section 5 ("Error Codes"), RFC 2347 (8).
ERR_UNDEFINED = 0
ERR_NOT_FOUND = 1
ERR_ACCESS = 2
ERR_DISK_FULL = 3
ERR_ILLEGAL = 4
ERR_UNKNOWN_TID = 5
ERR_EXISTS = 6
ERR_NO_USER = 7
ERR_OPTION = 8

HEADER_BYTES = 4  # opcode and block number before the payload of DATA
MAX_REQUEST_BYTES = 512  # RFC 2347: a request packet is at most 512 octets
MAX_OPTIONS = 16  # we know 6; a UINT8 option counter once overflowed in edk2 (tianocore #9797)
MAX_ERROR_TEXT_BYTES = 128  # an ERROR text is for people; longer ones are cut


def opcode(data):
    """The opcode of a datagram.

    Raises PeerError `short` when there is none.
    """
    if len(data) < 2:
        raise PeerError("short", ERR_ILLEGAL)
    return data[0] << 8 | data[1]


def pack_request(op, name, options, mode="octet"):
    """RRQ or WRQ bytes; `options` is a list of (name, value) string pairs.

    Raises UsageError when the request would exceed 512 octets (RFC 2347) or holds a NUL.
    """
    fields = [name, mode]
    for key, value in options:
        fields.append(key)
        fields.append(value)
    out = bytes((0, op)) + _pack_strings(fields)
    if len(out) > MAX_REQUEST_BYTES:
        raise UsageError("request of %d bytes, at most 512" % len(out))
    return out


def pack_oack(options):
    """OACK bytes (RFC 2347) from a list of (name, value) string pairs."""
    fields = []
    for key, value in options:
        fields.append(key)
        fields.append(value)
    return bytes((0, OP_OACK)) + _pack_strings(fields)


def pack_data(block, payload):
    """DATA bytes; `block` is taken modulo 65536."""
    return bytes((0, OP_DATA, block >> 8 & 0xFF, block & 0xFF)) + payload


def pack_ack(block):
    """ACK bytes; `block` is taken modulo 65536."""
    return bytes((0, OP_ACK, block >> 8 & 0xFF, block & 0xFF))


def pack_ack_into(buf, block):
    """Write an ACK into the first four bytes of `buf`, allocating nothing."""
    buf[0] = 0
    buf[1] = OP_ACK
    buf[2] = block >> 8 & 0xFF
    buf[3] = block & 0xFF


def pack_error(code, text):
    """ERROR bytes; a text too long for its reader is cut."""
    raw = text.encode()[:MAX_ERROR_TEXT_BYTES]
    return bytes((0, OP_ERROR, 0, code)) + raw + b"\0"


def parse_request(data):
    """(opcode, name, mode, options) of an RRQ or WRQ.

    mode and option names come in lower case (RFC 1350 section 5, RFC 2347: case does not
    matter), options as a list of (name, value) in the order sent.
    Raises PeerError: `short`, `not_a_request`, `request_too_long`, `no_final_nul`,
    `bad_text`, `no_mode`, `option_without_value`, `too_many_options`, `duplicate_option`.
    """
    op = opcode(data)
    if op != OP_RRQ and op != OP_WRQ:
        raise PeerError("not_a_request", ERR_ILLEGAL)
    if len(data) > MAX_REQUEST_BYTES:
        raise PeerError("request_too_long", ERR_ILLEGAL)
    fields = _parse_strings(data)
    if len(fields) < 2 or not fields[0]:
        raise PeerError("no_mode", ERR_ILLEGAL)
    return op, fields[0], fields[1].lower(), _pair_options(fields, 2)


def parse_oack(data):
    """The options of an OACK, as a list of (lower-case name, value).

    Raises PeerError as parse_request does.
    """
    if opcode(data) != OP_OACK:
        raise PeerError("not_an_oack", ERR_ILLEGAL)
    return _pair_options(_parse_strings(data), 0)


def parse_ack(data):
    """The block number of an ACK, 0..65535; trailing bytes are tolerated (old clients pad)."""
    if len(data) < HEADER_BYTES:
        raise PeerError("short", ERR_ILLEGAL)
    if opcode(data) != OP_ACK:
        raise PeerError("not_an_ack", ERR_ILLEGAL)
    return data[2] << 8 | data[3]


def parse_error(data):
    """(code, text) of an ERROR. A text without its NUL, or not UTF-8, is tolerated."""
    if len(data) < HEADER_BYTES:
        raise PeerError("short", ERR_ILLEGAL)
    raw = bytes(data[HEADER_BYTES : HEADER_BYTES + MAX_ERROR_TEXT_BYTES])
    end = raw.find(b"\0")
    if end >= 0:
        raw = raw[:end]
    text = "".join([chr(b) if 32 <= b < 127 else "?" for b in raw])
    return data[2] << 8 | data[3], text


def option(options, name):
    """The value of option `name` in a list of pairs, or None."""
    for key, value in options:
        if key == name:
            return value
    return None


def _pack_strings(fields):
    out = b""
    for field in fields:
        if "\0" in field:
            raise UsageError("NUL in a request field")
        out += field.encode() + b"\0"
    return out


def _parse_strings(data):
    """The NUL-terminated strings after the opcode."""
    raw = bytes(data[2:])
    if not raw:
        return []
    if raw[-1] != 0:
        raise PeerError("no_final_nul", ERR_ILLEGAL)
    fields = []
    for part in raw[:-1].split(b"\0", 2 + 2 * MAX_OPTIONS):
        try:
            fields.append(part.decode())
        except ValueError:  # UnicodeDecodeError on CPython, UnicodeError on MicroPython
            raise PeerError("bad_text", ERR_ILLEGAL)
    return fields


def _pair_options(fields, start):
    if len(fields) - start > 2 * MAX_OPTIONS:
        raise PeerError("too_many_options", ERR_OPTION)
    if (len(fields) - start) % 2:
        raise PeerError("option_without_value", ERR_OPTION)
    options = []
    for i in range(start, len(fields), 2):
        key = fields[i].lower()
        if option(options, key) is not None:
            raise PeerError("duplicate_option", ERR_OPTION)
        options.append((key, fields[i + 1]))
    return options
