"""The two error families of Gapcast.

UsageError: our own code called a function wrongly (a bug, or an operator's bad value).
PeerError: the other side of the network sent something wrong. It carries a short, stable
`reason` (a drop counter's name) and the TFTP error code to answer with (RFC 1350 section 5,
RFC 2347 for code 8).
"""


class GapcastError(Exception):
    """Root of both families; never raised itself."""


class UsageError(GapcastError):
    """We called it wrong."""


class PeerError(GapcastError):
    """The peer sent it wrong.

    reason: a stable snake_case name, used as a drop counter.
    code: the TFTP error code that answers it on the wire.
    error_code, error_text: of the peer's own ERROR, when the reason is `refused`.
    """

    def __init__(self, reason, code=0, error_code=None, error_text=""):
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.error_code = error_code
        self.error_text = error_text
