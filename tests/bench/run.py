"""`make bench`: Gapcast and its peers side by side in one run, taking turns, medians of several repeats.

    make bench                                        all cases: takes the better part of an hour
    make bench BENCH_ARGS="--quick"                   a look, in a minute
    make bench BENCH_ARGS="--cases 10x20,50x10 --only gapcast,norm --repeats 5"
    make bench BENCH_ARGS="--report tests/bench"      and write RESULTS.md and its plots
    make bench BENCH_ARGS="--from a.json,b.json --report tests/bench"     only write them

A case is RECEIVERSxLOSS: 10x20 is 10 boards and 20 % loss; 10x10b: in bursts; 10x10c: the same loss for all;
@0: without a rate limit, @1M: at another; stock-5x0@0: atftp clients by RFC 2090, from our server and from
atftpd. Needs root; a peer that is not installed is left out, and says so.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(TESTS)

from bench import air, report  # noqa: E402
from bench.case import Case, Trial  # noqa: E402
from bench.contest import Contestant, Stage  # noqa: E402
from bench.figures import aligned, cells, number, rows  # noqa: E402
from bench.ours import Gapcast, StockOurs  # noqa: E402
from bench.peers import PEERS, StockTheirs  # noqa: E402

CASES = (
    "10x0,10x2,10x5,10x10,10x20,1x10,20x10,50x10,10x10b,10x10c,50x2@0,"
    "10x10@1M,50x10@1M,200x10@1M,stock-1x0@0,stock-5x0@0,stock-3x1@0"
)
QUICK_CASES = "3x0,3x10"
MEMORY = Path("/dev/shm")
BUILD = TESTS.parent / "build" / "bench"
PACKAGES = ("libnorm1", "udpcast", "uftp", "atftp", "atftpd")
EXIT_INTERRUPTED = 130


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options, checked; cases and contestants as lists."""
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", help=f"comma-separated; default {CASES}")
    parser.add_argument("--repeats", type=int, help="runs of each contestant in each case (default 3)")
    parser.add_argument("--only", help="contestants, comma-separated")
    parser.add_argument("--size", help="of the image (default 2M)")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for one run (default 60)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CASES}, once, 256 KiB")
    parser.add_argument("--json", type=Path, default=BUILD / "results.json", help="all runs, one by one")
    parser.add_argument(
        "--report", type=Path, default=BUILD, metavar="DIR", help="for RESULTS.md and the plots"
    )
    parser.add_argument("--from", dest="sources", metavar="FILES", help="do not run, take these JSON files")
    parser.add_argument(
        "--extra", metavar="FILES", help="sections of the report: JSON of load.py, flash.py, board.py"
    )
    options = parser.parse_args(argv)
    try:
        texts = options.cases or (QUICK_CASES if options.quick else CASES)
        options.cases = [Case.parse(text) for text in texts.split(",")]
    except ValueError as error:
        parser.error(str(error))
    options.repeats = options.repeats or (1 if options.quick else 3)
    options.size = options.size or ("256k" if options.quick else "2M")
    known = [kind.name for kind in contestants()]
    options.only = options.only.split(",") if options.only else known
    for name in options.only:
        if name not in known:
            parser.error(f"--only {name}: there are {', '.join(known)}")
    return options


def contestants() -> list[type[Contestant]]:
    return [Gapcast, *PEERS, StockOurs, StockTheirs]


def present(names: Sequence[str], results: report.Results) -> list[Contestant]:
    """Those that can run here; the others are told and noted."""
    made = []
    for kind in contestants():
        if kind.name not in names:
            continue
        contestant = kind()
        reason = contestant.missing()
        if reason is None:
            made.append(contestant)
        else:
            print(f"{kind.name} is left out: {reason}")
            results.left_out.append([kind.name, reason])
    return made


def make_images(root: Path, size: str) -> None:
    """fw.bin, the image, and fw.gap, the container in which our boards want it."""
    gapcast = [sys.executable, "-m", "gapcast", "image"]
    root.mkdir()
    sample = [*gapcast, "sample", "--size", size, "--version", "2.0", "-o", str(root / "fw.bin")]
    build = [
        *gapcast,
        "build",
        str(root / "fw.bin"),
        "--name",
        "fw",
        "--board",
        "SIM",
        "-o",
        str(root / "fw.gap"),
    ]
    for argv in (sample, build):
        subprocess.run(argv, check=True, capture_output=True, timeout=60)


def measure(
    case: Case, present: list[Contestant], work: Path, options: argparse.Namespace
) -> Iterator[Trial]:
    """All runs of one case, on one network."""
    playing = [contestant for contestant in present if contestant.stock == case.stock]
    for contestant in list(playing):
        if reason := contestant.skips(case):
            print(f"  {contestant.name} does not take part: {reason}")
            playing.remove(contestant)
    if reason := air.why_not_loss(case.loss):
        print(f"  skipped: {reason}")
        return
    failures = dict.fromkeys((contestant.name for contestant in playing), 0)
    root = work / "root"
    with air.Air(case.receivers, case.rate_bps, case.loss) as network:
        stage = Stage(network, case, root / "fw.bin", root, work / "run", options.limit)
        for repeat in range(options.repeats):
            for place in range(len(playing)):  # not always the same after the same
                contestant = playing[(place + repeat) % len(playing)]
                if failures[contestant.name] < contestant.tries:
                    trial = contestant.run(stage)
                    failures[contestant.name] += bool(trial.failure)
                    tell(trial, repeat + 1)
                    yield trial


def tell(trial: Trial, repeat: int) -> None:
    """One line as soon as a run is over."""
    case = Case.parse(trial.case)
    busy = f"cores {trial.busy:.0%} busy" if trial.busy is not None else ""
    result = trial.failure or f"time {number(trial.time(case.rate_bps))}, air {number(trial.air)}, {busy}"
    print(f"  {repeat}. {trial.contestant}: {result}", flush=True)


def machine(options: argparse.Namespace) -> dict[str, object]:
    """What the figures belong to."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    versions = {}
    for package in PACKAGES:
        argv = ["dpkg-query", "-W", "-f", "${Version}", package]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
        except OSError:
            break
        if done.returncode == 0 and done.stdout:
            versions[package] = done.stdout
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "repeats": options.repeats,
        "versions": versions,
    }


def run_all(options: argparse.Namespace, results: report.Results) -> None:
    """Every case; what is there is saved after each run."""
    air.remove_leftovers()
    # In memory where possible: a journal for the flash of 200 boards takes the cores' time.
    memory = str(MEMORY) if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="gapcast-bench-", dir=memory) as name:
        work = Path(name)
        make_images(work / "root", options.size)
        results.about |= machine(options) | {"image_bytes": (work / "root" / "fw.bin").stat().st_size}
        taking_part = present(options.only, results)
        for case in options.cases:
            print(f"{case.key}: {case.title}", flush=True)
            before = len(results.trials)
            for trial in measure(case, taking_part, work, options):
                results.trials.append(trial)
                results.save(options.json)
            table = [cells(row) for row in rows(results.trials[before:])]
            if table:
                print(aligned([["", "time", "range", "air", ""], *table]), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    results = report.Results()
    code = 0
    if options.sources:
        results = report.Results.load([Path(name) for name in options.sources.split(",")])
    elif reason := air.why_not():
        print(f"bench skipped: {reason}")
        return 0
    else:
        try:
            run_all(options, results)
        except KeyboardInterrupt:
            print("interrupted: what was measured before is kept", file=sys.stderr)
            code = EXIT_INTERRUPTED
    if results.trials:
        names = options.extra.split(",") if options.extra else []
        results.sections = [report.extra(Path(name)) for name in names]
        written = report.write(results, options.report)
        print("wrote", ", ".join(str(path) for path in written))
    ours = [trial for trial in results.trials if trial.contestant.startswith("gapcast") and trial.failure]
    return code or (1 if ours else 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
