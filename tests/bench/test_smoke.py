"""The bench itself, once, with as little as there can be: two receivers and 64 KiB."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import air, run
from bench.report import Results
from gapcast_tools.upy import Micropython

pytestmark = pytest.mark.root
WHO = "gapcast,norm,udpcast,uftp,rfc2090,tftp-unicast"


@pytest.fixture
def _network(micropython: Micropython) -> None:
    reason = air.why_not()
    if reason:
        pytest.skip(reason)


@pytest.mark.usefixtures("_network")
def test_a_tiny_run(tmp_path: Path) -> None:
    """Everyone who is installed here brings the image to two receivers; nothing is left of the network."""
    file = tmp_path / "r.json"
    argv = ["--cases", "2x0", "--repeats", "1", "--size", "64k", "--limit", "10"]
    code = run.main([*argv, "--only", WHO, "--json", str(file), "--report", str(tmp_path)])
    results = Results.load([file])
    assert {trial.contestant: trial.failure for trial in results.trials if trial.failure} == {}
    assert code == 0
    names = {trial.contestant for trial in results.trials} | {name for name, _why in results.left_out}
    assert names == set(WHO.split(","))
    for trial in results.trials:
        assert len(trial.done_s) == 2
        assert 0 < trial.done_s[0] <= trial.elapsed_s
        assert trial.air is not None
        assert 1.0 < trial.air < 4.0
    assert (tmp_path / "RESULTS.md").exists()
    assert not list(Path("/run/netns").glob(f"gb{os.getpid()}-*"))
