"""SHA-256 at the speed of a chip's own accelerator: by the PC's instructions for it, in OpenSSL.

In place of `hashlib`; MicroPython only. Its import raises OSError where this processor has no OpenSSL.
"""

import ffi

_STATE_BYTES = 128  # SHA256_CTX has 112
_DIGEST_BYTES = 32
_lib = ffi.open("libcrypto.so.3")
_begin = _lib.func("i", "SHA256_Init", "p")
_update = _lib.func("i", "SHA256_Update", "ppl")
_end = _lib.func("i", "SHA256_Final", "pp")


class sha256:
    def __init__(self, data=None):
        self._state = bytearray(_STATE_BYTES)
        _begin(self._state)
        if data is not None:
            self.update(data)

    def update(self, data):
        _update(self._state, data, len(data))

    def digest(self):
        """Of all so far; the last that may be asked of it, as of a board's."""
        digest = bytearray(_DIGEST_BYTES)
        _end(digest, self._state)
        return bytes(digest)
