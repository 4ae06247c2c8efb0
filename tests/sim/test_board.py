"""One board against the real server: `gapcast board`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from boot_world import make_container
from sim_help import gapcast, read_json, serving

from gapcast_sim.runtime import Runtime


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 65536, 307199])
def test_a_raw_file_is_exact_to_the_byte(runtime: Runtime, tmp_path: Path, size: int) -> None:
    root = tmp_path / "root"
    root.mkdir()
    data = random.Random(size).randbytes(size)
    (root / "file.bin").write_bytes(data)
    with serving(root, "--rate", "50M") as port:
        done = gapcast(
            "board", "--server", f"127.0.0.1:{port}", "--image", "file.bin", "--flash", tmp_path / "fl",
            "--raw", "--limit", "20", "--json", tmp_path / "r.json",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "raw.bin is complete" in done.stdout
    assert (tmp_path / "fl" / "raw.bin").read_bytes() == data
    assert read_json(tmp_path / "r.json")["outcome"] == "raw"


def test_a_raw_file_that_is_not_there(runtime: Runtime, tmp_path: Path) -> None:
    with serving(tmp_path) as port:
        done = gapcast(
            "board", "--server", f"127.0.0.1:{port}", "--image", "none", "--flash", tmp_path / "fl", "--raw"
        )
    assert done.returncode == 1
    assert "none" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_board_updates_and_then_has_nothing_to_do(runtime: Runtime, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "lab.gap").write_bytes(make_container(60000, "2.5.0").data)
    command = ["board", "--image", "lab", "--flash", str(tmp_path / "fl"), "--json", str(tmp_path / "r.json")]
    with serving(root) as port:
        command += ["--server", f"127.0.0.1:{port}"]
        done = gapcast(*command)
        assert done.returncode == 0, done.stderr
        assert "runs 2.5.0" in done.stdout
        first = read_json(tmp_path / "r.json")
        done = gapcast(*command)
        assert done.returncode == 0, done.stderr
        second = read_json(tmp_path / "r.json")
    assert (first["outcome"], first["boots"], first["slot"], first["digest_ok"]) == ("updated", 2, 1, True)
    assert (second["outcome"], second["boots"], second["slot"]) == ("up_to_date", 1, 1)
    assert first["version"] == second["version"] == "2.5.0"
    assert second["role"] == "none"


def test_an_image_for_another_board_leaves_the_old_application(runtime: Runtime, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "lab.gap").write_bytes(make_container(20000, "2.5.0", "OTHER").data)
    with serving(root) as port:
        done = gapcast(
            "board", "--server", f"127.0.0.1:{port}", "--image", "lab", "--flash", tmp_path / "fl",
            "--json", tmp_path / "r.json",
        )  # fmt: skip
    assert done.returncode == 1
    result = read_json(tmp_path / "r.json")
    assert result["outcome"] == "refused"
    assert result["version"] == "0.0.0-factory"


def test_a_heavy_loss_still_ends_with_the_new_version(runtime: Runtime, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "lab.gap").write_bytes(make_container(100000, "3.0.0").data)
    for number in range(4):  # now and then symbols are enough
        with serving(root) as port:
            done = gapcast(
                "board", "--server", f"127.0.0.1:{port}", "--image", "lab", "--loss", "0.6",
                "--flash", tmp_path / f"fl{number}", "--json", tmp_path / "r.json",
            )  # fmt: skip
        assert done.returncode == 0, done.stderr
        result = read_json(tmp_path / "r.json")
        assert result["version"] == "3.0.0"
        assert result["symbols"] + result["repaired_blocks"] > 0
        if result["repaired_blocks"]:
            break
    assert result["repaired_blocks"] > 0
    assert result["repaired_bytes"] == result["repaired_blocks"] * 1024
