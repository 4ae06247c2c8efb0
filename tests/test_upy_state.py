"""What a board runs per packet, symbol, slice, report, chunk or poll allocates no state: see upy_state.py."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gapcast_tools.upy import Micropython
from upy_state import MAX_STATE_WORDS, states

LIB = Path(__file__).parents[1] / "firmware" / "lib"
SECONDS = 30

# Not here: what runs once for each generation or session, what reads control datagrams (parsing allocates
# anyway), and fec_plain.py, whose loops take milliseconds.
HOT = {
    "gapcast_core/receiver.py": """
        Receiver.accept Receiver._believed Receiver._is_continued
        Receiver.stored Receiver.mended
        Receiver._drop Receiver._beyond Receiver._moved Receiver._clock Receiver._rest_at_end
        Receiver.rest Receiver.hear Receiver._request Receiver.tick Receiver._is_over
        Receiver._patience_ms Receiver._backoff_ms""",
    "gapcast_core/gaps.py": """
        GapList.is_complete GapList.missing_blocks GapList.gap_count GapList.is_missing GapList.next_missing
        GapList.add GapList._find GapList._append GapList._fill GapList._split GapList._delete
        GapList._shift_up""",
    "gapcast_core/mender.py": """
        Mender.stored Mender._retry Mender.note Mender.accept
        Mender._reach Mender._keep Mender._solvable Mender.done Mender.is_mendable
        Mender.report Mender._is_late Mender._passed
        Mender._oldest_lacking Mender._find_lacking Mender._stream Mender._is_of_other_kind
        Mender._is_ahead""",
    "gapcast_core/generations.py": """
        unit_of symbol_of write_lacks _times write_surplus write_text _write_number write_heard""",
    "gapcast_core/plan.py": """
        Plan._seek Plan.of Plan.begin Plan.until Plan.step Plan.origin Plan.last Plan.blocks
        Plan.first Plan.end Plan.size Plan.block Plan.passed alone whole first_of""",
    "gapcast_core/missing.py": """
        Missing.stored Missing.of Missing.next Missing.list Missing._list
        Missing._after
        Missing.unit Missing.expect Missing.can_mend Missing.write_needs Missing._tell_apart
        Missing._need""",
    "gapcast_core/fec.py": """
        Pool.held Pool.add Pool._put Pool._place Pool.release Pool._evict Pool.next_known Pool.feed
        Pool._check_feed Pool.feed_two Pool._spread_two Pool._multiples Pool._spread Pool.eliminate
        Pool._clear_column Pool._weigh Pool.block""",
    "gapcast_core/gf.py": "mul inverse",
    "gapcast_core/repair.py": "Reader.accept Reader.advance Reader.tick",
    "gapcast_core/wire.py": "pack_ack_into",
    "gapcast_boot/port.py": "Clock.now_ms send Waiting.now ControlPort.read ControlPort._receive",
    "gapcast_boot/session.py": "Session._look Session.say",
    "gapcast_boot/mending.py": """
        MendedSession._take MendedSession._take_block MendedSession._take_symbol MendedSession._report_needs
        MendedSession._tell MendedSession._write_report MendedSession._write_heard MendedSession._begin
        MendedSession._solve MendedSession._feed MendedSession._block
        MendedSession._store""",
    "gapcast_boot/reading.py": "Reading._over Reading.is_head_in Reading._step Reading._take Reading._say",
    "gapcast_boot/download.py": """
        Download.stalled Download.overdue Download.write Download.load Download.store Download._part
        Download.prove Download.tell""",
    "gapcast_boot/proof.py": "Proof.step",
    "gapcast_boot/work.py": "Work.start Work.done",
    "gapcast_boot/watching.py": "Watch._look",
    "gapcast_boot/watching_hearing.py": "Hearing.look",
    "gapcast_boot/flash.py": """
        SlotSink.read SlotSink.load SlotSink.write SlotSink.erase
        SlotSink.chunk_matches _digest""",
}


# What plays the hardware for fifty boards on one PC.
SIM = Path(__file__).parents[1] / "boards" / "SIM"
HOT_SIM = {
    "esp32.py": "Partition.readblocks Partition.writeblocks",
    "sim_flash.py": "NorFile.read NorFile.program NorFile._program NorFile._program_step NorFile._write",
    "sim_power.py": "begin",
    "sim_socket.py": "socket.readinto socket._fill socket._survives",
}


@pytest.mark.parametrize("module", sorted(HOT_SIM))
def test_nor_does_one_of_the_simulated_hardware(module: str) -> None:
    found = states(SIM / module)
    too_large = {name: found[name] for name in HOT_SIM[module].split() if found[name] > MAX_STATE_WORDS}
    assert not too_large, f"more than {MAX_STATE_WORDS} words"


@pytest.mark.parametrize("module", sorted(HOT))
def test_no_call_takes_its_state_from_the_heap(module: str) -> None:
    found = states(LIB / module)
    too_large = {name: found[name] for name in HOT[module].split() if found[name] > MAX_STATE_WORDS}
    assert not too_large, f"more than {MAX_STATE_WORDS} words"


def test_the_limit_is_that_of_micropython(micropython: Micropython, tmp_path: Path) -> None:
    """Functions with more and more locals, and with a `try`, tell what is allocated while they run."""
    source = tmp_path / "sample.py"
    lines = ["from gc import mem_alloc"]
    names = []
    for size in range(1, 12):
        names += [f"plain{size}", f"guarded{size}"]
        local = " = ".join(f"v{i}" for i in range(size))
        lines += [f"def plain{size}():", f"    {local} = 0", "    return mem_alloc()"]
        lines += [f"def guarded{size}():", f"    {local} = 0", "    try:", "        return mem_alloc()"]
        lines += ["    except OSError:", "        return 0"]
    source.write_text("\n".join(lines) + "\n")
    script = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; import gc, sample; gc.collect(); gc.disable()\n"
    )
    script += f"for name in {names!r}:\n  f = getattr(sample, name); before = gc.mem_alloc()\n"
    script += "  print(name, int(f() > before))\n"
    done = subprocess.run(
        [*micropython.argv, "-c", script], timeout=SECONDS, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stdout + done.stderr
    allocates = dict(line.split() for line in done.stdout.splitlines())
    expected = {name: str(int(words > MAX_STATE_WORDS)) for name, words in states(source).items()}
    assert allocates == expected
    assert set(expected.values()) == {"0", "1"}
