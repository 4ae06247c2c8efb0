"""What runs on the board: short scripts for MicroPython 1.19 and later, sent by `mpremote run`.

They answer in lines of JSON behind MARK; whatever else the board prints is passed over. The interpreter is
the one that the application was running in (see mpremote.py), so they define little, and take it away. Board
heaps are small: a script is a few KiB, and a file goes through one buffer.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

MARK = "@gc "
NEW = ".gapnew"  # behind the name of a file that is not yet what it will be
LINE_BYTES = 480  # of data in one line, either way; a multiple of 3: base64 without padding
SCRIPT_BYTES = 3840  # of data in one script
STEPS = 24  # in one script
_SAY = f"def _gs(*a):\n import json\n print({MARK!r} + json.dumps(a))\n"
# An OSError's number is what tells a full file system from a broken one.
_FAIL = """
except Exception as e:
 _gs("error", e.__class__.__name__, e.args[0] if isinstance(e, OSError) and e.args else 0, str(e))
 raise
"""
_READ = """
def _gh(path):
 import hashlib, binascii
 b = memoryview(bytearray(512)); h = hashlib.sha256(); n = 0
 with open(path, "rb") as f:
  while 1:
   k = f.readinto(b)
   if not k:
    return n, binascii.hexlify(h.digest()).decode()
   h.update(b[:k]); n += k
   if not n % 65536:
    _gs("read", n)
def _gd(path):
 import binascii
 with open(path, "rb") as f:
  while 1:
   d = f.read(480)
   if not d:
    return
   _gs("data", path, binascii.b2a_base64(d).decode().strip())
"""
_LOOK = """
def _gl(folders, names, shown):
 import os, sys, gc
 gc.collect()
 i = sys.implementation
 _gs("implementation", i.name, list(i.version[:3]), getattr(i, "_mpy", 0), getattr(i, "_machine", ""))
 try:
  import machine, binascii
  _gs("id", binascii.hexlify(machine.unique_id()).decode())
 except (ImportError, AttributeError):
  pass
 _gs("fixed", _gx())
 s = os.statvfs("/")
 _gs("space", s[1] or s[0], s[4], s[2])
 for p in folders:
  _gw(p, _gf)
 for p in names:
  try:
   os.stat(p)
  except OSError as e:
   if e.args[0] != 2:
    raise
   continue
  _gf(p)
  if p in shown:
   _gd(p)
def _gf(path):
 _gs("file", path, *_gh(path))
def _gw(folder, see):
 import os
 try:
  l = list(os.ilistdir(folder or "/"))
 except OSError as e:
  if e.args[0] in (2, 20):
   return
  raise
 if folder:
  _gs("dir", folder)
 for e in l:
  p = folder + "/" + e[0]
  if not e[1] & 0x4000:
   see(p)
  elif folder or len(e) > 3:
   _gw(p, see)
def _gx():
 import sys
 p = sys.path[:]; m = sys.modules.pop("gapcast_boot", None); r = False
 sys.path[:] = [f for f in p if f == ".frozen" or f.startswith("/rom")]
 try:
  import gapcast_boot
  r = True
 except ImportError:
  pass
 sys.modules.pop("gapcast_boot", None)
 if m:
  sys.modules["gapcast_boot"] = m
 sys.path[:] = p
 return r
"""
_WRITE = """
def _go(path):
 global _gfile
 import os
 f = ""
 for s in path.split("/")[1:-1]:
  f += "/" + s
  try:
   os.mkdir(f)
  except OSError as e:
   if e.args[0] != 17:
    raise
 _gfile = open(path, "wb")
def _gp(text):
 import binascii
 d = binascii.a2b_base64(text)
 if _gfile.write(d) != len(d):
  raise OSError(28)
"""
_APPLY = """
def _gk(new, digest):
 if _gh(new)[1][:32] != digest:
  _gs("error", "damaged", 0, new)
  raise ValueError
def _gm(old, new):
 import os
 try:
  os.rename(old, new)
 except OSError as e:
  if e.args[0] != 17:
   raise
  os.remove(new); os.rename(old, new)
def _gr(path, remove):
 try:
  remove(path)
 except OSError as e:
  if e.args[0] not in (2, 39, 66):
   raise
"""
_NAMES = "_gs _gh _gd _gl _gf _gw _gx _go _gp _gk _gm _gr _gfile"
FORGET = f"for _n in {_NAMES!r}.split() + ['_n', 'e']:\n globals().pop(_n, 0)\n"


@dataclass(frozen=True)
class Move:
    """Step of an apply script: the file at `source`, if it has this SHA-256, becomes `path`, in one go."""

    source: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Remove:
    """Step of an apply script: a file goes, or a folder if it is empty; one that is not there is no error."""

    path: str
    is_folder: bool = False


Step = Move | Remove


def look_script(folders: Sequence[str], names: Sequence[str], shown: Sequence[str]) -> str:
    """Says what the board is, and its files in and below `folders`, and `names`; of `shown` also the content.

    Lines: ["implementation", name, version, mpy, machine], ["id", hex], ["fixed", client in firmware?],
    ["space", bytes per block, free blocks, blocks], ["dir", path], ["file", path, bytes, SHA-256],
    ["data", path, base64].
    """
    call = f"_gl({list(folders)!a}, {list(names)!a}, {list(shown)!a})"
    return f"{_SAY}try:\n{_indented(_READ + _LOOK)} {call}{_FAIL}{FORGET}"


def read_script(skipped: Sequence[str]) -> str:
    """Says every file of the board with its content, but for the folders and files of `skipped`."""
    call = (
        f" _gw('', lambda p: None if any(p == s or p.startswith(s + '/') for s in {list(skipped)!a})"
        " else (_gf(p), _gd(p)))"
    )
    return f"{_SAY}try:\n{_indented(_READ + _LOOK)}{call}{_FAIL}{FORGET}"


def write_scripts(files: Iterable[tuple[str, bytes]]) -> Iterator[str]:
    """Scripts that write `files` (path, content), one after the other; each says ["at", bytes so far]."""
    yield f"{_SAY}try:\n{_indented(_WRITE)} _gs('at', 0){_FAIL}"
    lines: list[str] = []
    filled = sent = 0
    for path, data in files:
        lines.append(f" _go({path!a})\n")
        for start in range(0, len(data), LINE_BYTES):
            piece = data[start : start + LINE_BYTES]
            lines.append(f" _gp({base64.b64encode(piece).decode()!r})\n")
            filled += len(piece)
            if filled >= SCRIPT_BYTES:
                sent += filled
                yield _piece(lines, sent)
                lines, filled = [], 0
        lines.append(" _gfile.close()\n")
        filled += len(path)  # a script of many small files is no small script
    yield _piece(lines, sent + filled)


def apply_scripts(steps: Sequence[Step]) -> Iterator[str]:
    """Scripts that take `steps` in order, after all files to move were found to be whole.

    Each says ["done"], the last one ["applied"].
    """
    yield f"{_SAY}try:\n{_indented(_READ + _APPLY)} import os as _go\n _gs('done'){_FAIL}"
    moves = [step for step in steps if isinstance(step, Move)]
    lines = [f" _gk({move.source!a}, {move.sha256[:32]!r})\n" for move in moves]
    lines += [_step(step) for step in steps]
    for start in range(0, len(lines), STEPS):
        yield f"try:\n{''.join(lines[start : start + STEPS])} _gs('done'){_FAIL}"
    yield f"_gs('applied')\n{FORGET}"


def _step(step: Step) -> str:
    if isinstance(step, Move):
        return f" _gm({step.source!a}, {step.path!a})\n"
    return f" _gr({step.path!a}, _go.{'rmdir' if step.is_folder else 'remove'})\n"


def _piece(lines: Sequence[str], sent: int) -> str:
    return f"try:\n{''.join(lines)} _gs('at', {sent}){_FAIL}"


def _indented(text: str) -> str:
    return "".join(f" {line}\n" for line in text.splitlines() if line)
