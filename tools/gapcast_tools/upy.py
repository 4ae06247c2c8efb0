"""MicroPython on this machine: find it, or fetch it; compile .py trees for it.

    python -m gapcast_tools.upy            the command line that starts it
    python -m gapcast_tools.upy --json     the same, with version, architecture and origin

Looked for in this order: $MICROPYTHON (a whole command line), the one fetched before, `micropython` on PATH,
and last a fetch from the machine's own package mirror (see upy_fetch).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gapcast_tools import upy_compile, upy_fetch

OLDEST = (1, 22, 0)
PROBE_SECONDS = 10
EXIT_INTERRUPTED = 130  # what a shell reports for SIGINT
PROBE = "import sys; i=sys.implementation; print(i.name, *i.version[:3], getattr(i, '_mpy', 0))"
# e_machine of an ELF file -> the name of the architecture
ELF_MACHINES = {3: "i386", 21: "ppc64le", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}

Compiled = upy_compile.Compiled


@dataclass(frozen=True)
class Micropython:
    """A MicroPython that was seen to run."""

    argv: tuple[str, ...]  # the command prefix; options and the script come after it
    version: tuple[int, int, int]
    arch: str  # "i386", "x86_64", "aarch64", ...; "unknown" for a wrapper script
    origin: str  # where it comes from, for people
    mpy: int = 0  # sys.implementation._mpy: which .mpy files it loads


class Unusable(Exception):
    """A candidate is no usable MicroPython; the message says why."""


def cache_dir() -> Path:
    """Where fetched and compiled things are kept: in a checkout its build folder, else the user's cache."""
    if chosen := os.environ.get("GAPCAST_CACHE"):
        return Path(chosen).absolute()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / "build" / "cache"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gapcast"


def find_micropython(
    fetch: bool = True, progress: Callable[[str], None] | None = None, quick: bool = False
) -> Micropython | None:
    """A MicroPython that runs here, or None; `progress` hears what is done, and why there is none.

    quick: rather the quickest than the one most like a board's.
    """
    tell = progress or (lambda _text: None)
    found, reasons = search(fetch, tell, quick)
    if found is None:
        tell(f"no MicroPython: {'; '.join(reasons)}")
    return found


def search(
    fetch: bool, progress: Callable[[str], None], quick: bool = False
) -> tuple[Micropython | None, list[str]]:
    """The first usable MicroPython, and the reasons why those before it were not."""
    chosen = os.environ.get("MICROPYTHON")
    if chosen:  # an explicit choice: used or refused, never passed over in silence
        try:
            return probe(_words(chosen), "$MICROPYTHON"), []
        except Unusable as error:
            return None, [f"$MICROPYTHON: {error}"]
    reasons: list[str] = []
    wanted = upy_fetch.architectures(quick)
    # The quickest is rather fetched than another taken that happens to be here.
    for arch in wanted[:1] if quick and fetch else wanted:
        if _cached(arch).is_dir():
            try:
                return _probe_cached(_cached(arch)), reasons
            except Unusable as error:
                reasons.append(str(error))
    if on_path := shutil.which("micropython"):
        try:
            return probe([on_path], "PATH"), reasons
        except Unusable as error:
            reasons.append(str(error))
    if not fetch:
        return None, [*reasons, "none on PATH, none fetched yet"]
    for arch in wanted:
        try:
            return _fetch(arch, progress), reasons
        except Unusable as error:
            reasons.append(f"{arch}: {error}")
    return None, reasons


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise Unusable(f"{command!r} is no command line: {error}") from None
    if not words:
        raise Unusable("it is blank: unset it, or give a command line")
    return words


def probe(argv: Sequence[str], origin: str) -> Micropython:
    """Start it once, to see that it is MicroPython, that it runs here, and that it is new enough."""
    try:
        done = subprocess.run(
            [*argv, "-c", PROBE],
            timeout=PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unusable(f"{shlex.join(argv)} does not run: {error}") from None
    words = done.stdout.split()
    if done.returncode or len(words) != 5 or words[0] != "micropython":
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise Unusable(f"{shlex.join(argv)} is no MicroPython that runs here: {last}")
    version = (int(words[1]), int(words[2]), int(words[3]))
    if version < OLDEST:
        raise Unusable(f"{shlex.join(argv)} is {_dotted(version)}, older than {_dotted(OLDEST)}")
    return Micropython(tuple(argv), version, _arch(argv[-1]), origin, int(words[4]))


def compile_mpy(src_dirs: Sequence[Path], out: Path, micropython: Micropython | None = None) -> Compiled:
    """Compile the import roots `src_dirs` into one import root below `out`; see upy_compile.compile_trees.

    Without `micropython` no native code is produced: a module with viper functions is then copied as it is.
    """
    return upy_compile.compile_trees(src_dirs, out, micropython.mpy if micropython else 0)


def _cached(arch: str) -> Path:
    return cache_dir() / f"micropython-{arch}"


def _probe_cached(root: Path) -> Micropython:
    try:
        return probe(upy_fetch.command(root), f"fetched into {root}")
    except upy_fetch.FetchError as error:
        raise Unusable(str(error)) from None


def _fetch(arch: str, progress: Callable[[str], None]) -> Micropython:
    """Fetch one architecture; one that turns out not to run here is thrown away again."""
    root = _cached(arch)
    if root.is_dir():  # perhaps another process fetched it since we looked
        try:
            return _probe_cached(root)
        except Unusable:
            message = f"{root} is there, but does not run: remove it to fetch it again"
            raise Unusable(message) from None
    try:
        ours = upy_fetch.fetch(root, arch, progress)
    except (upy_fetch.FetchError, OSError) as error:
        if root.is_dir():  # another process had more luck
            return _probe_cached(root)
        raise Unusable(str(error)) from None
    try:
        return _probe_cached(root)
    except Unusable:
        if ours:
            shutil.rmtree(root, ignore_errors=True)
        raise


def _arch(binary: str) -> str:
    """The architecture an executable was built for, from its ELF header."""
    try:
        with open(shutil.which(binary) or binary, "rb") as file:
            head = file.read(20)
    except OSError:
        return "unknown"
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return "unknown"
    return ELF_MACHINES.get(int.from_bytes(head[18:20], "little" if head[5] == 1 else "big"), "unknown")


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m gapcast_tools.upy", description="Find or fetch MicroPython.")
    parser.add_argument("--json", action="store_true", help="print version, architecture and origin too")
    parser.add_argument("--no-fetch", action="store_true", help="only look for one that is here already")
    options = parser.parse_args(arguments)
    try:
        found = find_micropython(not options.no_fetch, lambda text: print(text, file=sys.stderr))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    if found is None:
        return 1
    print(json.dumps(dataclasses.asdict(found)) if options.json else shlex.join(found.argv))
    return 0


if __name__ == "__main__":
    sys.exit(main())
