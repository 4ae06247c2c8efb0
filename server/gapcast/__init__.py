"""Gapcast: update many MicroPython boards at once, by multicast TFTP and repair of the gaps."""

__version__ = "0.1.0"
