"""Which MicroPython an application image is."""

from __future__ import annotations

import re

from gapcast.image.espapp import Descriptor

# Version 6 of the .mpy format is read since 1.19, but a module with native code (gapcast_core.fec_viper) only
# by the sub-version that it was compiled for: 6.3 since 1.23, which is what mpy-cross writes.
LEAST = (1, 23, 0)
LEAST_TEXT = "1.23"
# py/mpconfig.h, MICROPY_BANNER_NAME_AND_VERSION; also a part of sys.version.
_BANNER = re.compile(
    rb"MicroPython (?:\([ -~]{1,40}\) )?v(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?[!-~]* on \d{4}-"
)
_VERSION = re.compile(r"v?(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?(?!\d)")


def find_version(image: bytes, descriptor: Descriptor) -> tuple[int, ...] | None:
    """(1, 26, 0), from MicroPython's banner in the image or else its descriptor; None: no MicroPython.

    MicroPython's own builds leave the descriptor's names empty (CONFIG_APP_EXCLUDE_PROJECT_VER_VAR in
    ports/esp32/boards/sdkconfig.base).
    """
    banner = _BANNER.search(image)
    if banner is not None:
        return tuple(int(number or 0) for number in banner.groups())
    text = _VERSION.match(descriptor.version) if descriptor.project.lower() == "micropython" else None
    return tuple(int(number or 0) for number in text.groups()) if text else None
