"""The protocol core of Gapcast, one copy for CPython and MicroPython.

What belongs here: bytes, time and state in; bytes, effects and the next deadline out.
What does not: sockets, clocks, sleeps, files, logging, printing. PROTOCOL.md beside this
file is the reference for every number used here.
"""
