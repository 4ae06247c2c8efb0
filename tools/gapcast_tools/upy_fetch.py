"""Fetch MicroPython's unix port from the machine's own Debian or Ubuntu mirror: no root, nothing installed.

apt does the work with a private state directory (its own source list, package lists and archive), so that
signatures are checked as for any other package and the system's apt never notices. The packages are unpacked
into a folder of the cache, and the binary is started through that folder's own dynamic loader: a newer libc
than the machine's is no obstacle.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[str], None]

# The Debian release to take the packages from: the first with MicroPython 1.25. Its libc comes along.
DEBIAN_SUITE = "trixie"
DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
UPDATE_SECONDS = 180  # the package lists of one architecture are some 10 MB
DOWNLOAD_SECONDS = 180  # ten packages, 3 MB
UNPACK_SECONDS = 60
LEFTOVER_SECONDS = 3600  # a working folder this old belongs to a fetch that was killed

# What dpkg calls the architectures that Python names otherwise.
DPKG_ARCH = {
    "x86_64": "amd64",
    "i686": "i386",
    "aarch64": "arm64",
    "armv7l": "armhf",
    "riscv64": "riscv64",
    "ppc64le": "ppc64el",
    "s390x": "s390x",
}


class FetchError(Exception):
    """MicroPython cannot be fetched here; the message says why."""


@dataclass(frozen=True)
class Source:
    """One entry of the machine's own apt sources."""

    uri: str
    suites: tuple[str, ...]
    signed_by: str = ""
    trusted: str = ""

    def stanza(self, suites: Iterable[str], components: str) -> str:
        """The entry again, in deb822 form, for other suites."""
        lines = ["Types: deb", f"URIs: {self.uri}", f"Suites: {' '.join(suites)}"]
        lines.append(f"Components: {components}")
        if self.signed_by:
            inline_key = "\n" in self.signed_by  # begins on a line of its own
            lines.append(f"Signed-By:\n {self.signed_by}" if inline_key else f"Signed-By: {self.signed_by}")
        if self.trusted:
            lines.append(f"Trusted: {self.trusted}")
        return "\n".join(lines) + "\n"


def fetch(destination: Path, arch: str, progress: Progress) -> bool:
    """Put MicroPython for the dpkg architecture `arch` into `destination`, whole or not at all.

    False: another process was faster, and `destination` is what that one made.
    """
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise FetchError(f"{program} is missing: only Debian, Ubuntu and their like can be fetched from")
    stanza = _stanza(_os_release(), list(machine_sources()))
    destination.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(destination.parent)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=destination.parent) as name:
        work = Path(name)
        root = work / "root"
        for package in _download(work, arch, stanza, progress):
            _run(["dpkg", "-x", str(package), str(root)], UNPACK_SECONDS)
        command(root)  # complete, or this raises
        try:
            root.rename(destination)
        except OSError:
            if not destination.is_dir():
                raise
            return False
    return True


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(".fetch-*"):
        try:
            old = time.time() - path.lstat().st_mtime > LEFTOVER_SECONDS
        except OSError:  # its owner was faster
            continue
        if old:
            shutil.rmtree(path, ignore_errors=True)


def command(root: Path) -> tuple[str, ...]:
    """The command that starts the MicroPython unpacked in `root`, through its own loader and libraries."""
    binary = root / "usr/bin/micropython"
    loaders = sorted(p for p in root.rglob("ld*.so.[0-9]") if p.name.startswith(("ld-linux", "ld64")))
    libraries = sorted({p.parent for p in root.rglob("lib*.so.*")})
    if not (binary.exists() and loaders and libraries):
        raise FetchError(f"no complete MicroPython in {root}")
    return (str(loaders[0]), "--library-path", ":".join(map(str, libraries)), str(binary))


def architectures(quick: bool = False) -> list[str]:
    """The architectures to try, best first: a board has 32-bit small ints, and so has the i386 build.

    quick: that build takes 1.7 times as long as the one for the machine itself (measured), so that one first.
    """
    machine = platform.machine()
    own = DPKG_ARCH.get(machine, machine)
    if own != "amd64":
        return [own]
    return ["amd64", "i386"] if quick else ["i386", "amd64"]


def _download(work: Path, arch: str, stanza: str, progress: Progress) -> list[Path]:
    """Let apt download MicroPython and everything it depends on; the packages' paths."""
    state, archives, lists = work / "state", work / "archives", work / "lists"
    for folder in (state, archives / "partial", lists / "partial", work / "parts"):
        folder.mkdir(parents=True)
    (work / "private.sources").write_text(stanza, encoding="utf-8")
    (state / "status").touch()  # an empty system: so that every dependency is downloaded, libc included
    options = {
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "APT::Sandbox::User": "root",  # no change of user: the private folders belong to whoever runs this
        "APT::Install-Recommends": "false",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
        "Debug::NoLocking": "true",
        "Dir::Cache": str(work),
        "Dir::Cache::archives": str(archives),
        "Dir::Etc::sourcelist": str(work / "private.sources"),
        "Dir::Etc::sourceparts": str(work / "parts"),
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": str(work / "parts"),
        "Dir::Log": str(work),
        "Dir::State": str(state),
        "Dir::State::lists": str(lists),
        "Dir::State::status": str(state / "status"),
    }
    apt = ["apt-get", "-q", "-y", *(f"-o{name}={value}" for name, value in options.items())]
    progress(f"fetching MicroPython ({arch}) from this machine's package mirror, without installing it")
    _run([*apt, "update"], UPDATE_SECONDS)
    _run([*apt, "install", "--download-only", "micropython"], DOWNLOAD_SECONDS)
    packages = sorted(archives.glob("*.deb"))
    if not packages:
        raise FetchError("apt-get downloaded nothing")
    return packages


def _run(argv: list[str], seconds: float) -> None:
    """Run a command to its end; its last words become the error."""
    env = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            argv,
            timeout=seconds,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FetchError(f"{argv[0]} took more than {seconds:.0f} seconds") from None
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("E:", "dpkg"))] or lines
        raise FetchError(f"{argv[0]} failed: {' / '.join(errors[-3:]) or f'exit code {done.returncode}'}")


def _stanza(release: dict[str, str], sources: list[Source]) -> str:
    """The private source list: the machine's own mirror, with the release that has MicroPython."""
    main = [s for s in sources if not all(suite.endswith(("-security", "/")) for suite in s.suites)]
    if not main:
        raise FetchError("no package mirror in this machine's apt sources")
    if release.get("ID") == "debian":
        source = main[0]
        if not source.trusted and DEBIAN_KEYRING.exists():
            source = Source(source.uri, source.suites, str(DEBIAN_KEYRING))
        return source.stanza([DEBIAN_SUITE], "main")
    components = "main universe" if "ubuntu" in release.get("ID", "") + release.get("ID_LIKE", "") else "main"
    return "\n".join(source.stanza(source.suites, components) for source in main)


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def machine_sources(etc: Path = Path("/etc/apt")) -> Iterator[Source]:
    """The enabled binary-package sources of the machine, of both notations, in apt's order."""
    if (etc / "sources.list").is_file():
        yield from parse_list((etc / "sources.list").read_text(encoding="utf-8", errors="replace"))
    for path in sorted((etc / "sources.list.d").glob("*")):
        if path.suffix == ".list":
            yield from parse_list(path.read_text(encoding="utf-8", errors="replace"))
        elif path.suffix == ".sources":
            yield from parse_deb822(path.read_text(encoding="utf-8", errors="replace"))


def parse_list(text: str) -> Iterator[Source]:
    """Entries of the one-line form: deb [option=value ...] uri suite component..."""
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)", line)
        if found is None or found["uri"].startswith("cdrom:"):
            continue
        try:
            words = shlex.split(found["options"] or "")
        except ValueError:  # a stray quote: apt takes no such entry either
            continue
        options = dict(word.split("=", 1) for word in words if "=" in word)
        signed_by = options.get("signed-by", "").replace(",", " ")
        yield Source(found["uri"], (found["suite"],), signed_by, options.get("trusted", ""))


def parse_deb822(text: str) -> Iterator[Source]:
    """Entries of the stanza form; a continued field (an inline key) is kept as it is."""
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", body):
        fields = {
            name.lower(): value.strip()
            for name, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", stanza, flags=re.MULTILINE)
        }
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        for uri in re.sub(r"cdrom:(\[[^]]*\])?\S*", "", fields.get("uris", "")).split():
            suites = tuple(fields.get("suites", "").split())
            yield Source(uri, suites, fields.get("signed-by", ""), fields.get("trusted", ""))
