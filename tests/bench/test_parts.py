"""The bench's own arithmetic: cases, medians, the limit, plots, the page."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import figures, ours, report, run, svg
from bench.air import Air, burst_rules
from bench.case import AIR_BPS, Case, Loss, Trial

IMAGE_BYTES = 2 << 20
SVG = "{http://www.w3.org/2000/svg}"


def trial(name: str, case: str, elapsed_s: float | None, **more: object) -> Trial:
    made = Trial(name, case, IMAGE_BYTES, elapsed_s=elapsed_s, air_bytes=3 * IMAGE_BYTES, **more)  # type: ignore[arg-type]
    if elapsed_s is None:
        made.failure = "60 s were up: 3 of 10 done"
    else:
        made.done_s = [elapsed_s / 2, elapsed_s]
    return made


@pytest.mark.parametrize(
    ("text", "case"),
    [
        ("10x0", Case(10)),
        ("10x20", Case(10, Loss(0.2))),
        ("3x0.5", Case(3, Loss(0.005))),
        ("10x10b", Case(10, Loss(0.1, "burst"))),
        ("10x10c", Case(10, Loss(0.1, "same"))),
        ("50x2@0", Case(50, Loss(0.02), None)),
        ("50x2@500000", Case(50, Loss(0.02), 500_000)),
        ("stock-5x0@0", Case(5, Loss(), None, stock=True)),
    ],
)
def test_a_case_is_what_its_key_says(text: str, case: Case) -> None:
    assert Case.parse(text) == case
    assert case.key == text


def test_a_rate_may_have_a_unit() -> None:
    assert Case.parse("1x0@1M").rate_bps == 1e6
    assert Case.parse("1x0@6M").rate_bps == AIR_BPS


@pytest.mark.parametrize("text", ["", "10", "x10", "0x10", "10x100", "10x10d", "2000x1", "10x10@", "10x-1"])
def test_what_is_no_case_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"receivers|no case"):
        Case.parse(text)


def test_titles_are_for_people() -> None:
    assert Case.parse("1x0").title == "1 board, 0 % loss"
    assert Case.parse("10x10b").title == "10 boards, 10 % loss in bursts of 8"
    assert Case.parse("stock-3x1@0").title == "3 atftp clients, 1 % loss, no rate limit"


def test_time_is_a_multiple_of_the_ideal_and_seconds_without_a_rate() -> None:
    ideal_s = IMAGE_BYTES * 8 / AIR_BPS
    assert trial("a", "1x0", 2 * ideal_s).time(AIR_BPS) == pytest.approx(2)
    assert trial("a", "1x0@0", 1.5).time(None) == 1.5
    assert trial("a", "1x0", None).time(AIR_BPS) is None
    assert trial("a", "1x0", 1.0).air == 3


def test_the_median_needs_more_than_half_of_the_runs() -> None:
    assert figures.median([3.0, 1.0, 2.0], 3) == 2.0
    assert figures.median([3.0, None, 2.0], 3) == 2.5
    assert figures.median([3.0, None, None], 3) is None
    assert figures.median([], 0) is None


def test_rows_are_sorted_and_say_how_they_failed() -> None:
    trials = [
        trial("slow", "3x0@0", 4.0),
        trial("dead", "3x0@0", None),
        trial("fast", "3x0@0", 1.0, busy=0.99),
    ]
    table = figures.rows([*trials, trial("slow", "1x0@0", 2.0), trial("slow", "3x0@0", 6.0)])
    assert [row.contestant for row in table] == ["fast", "slow", "dead", "slow"]
    assert (table[1].time, table[1].time_low, table[1].time_high) == (5.0, 4.0, 6.0)
    assert "saturated" in table[0].note
    assert table[2].note == "1 of 1 failed: 60 s were up: 3 of 10 done"
    assert table[3].case.receivers == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10x0", 1.05), ("10x20", 1.33), ("50x10", 1.18), ("200x10", 1.18), ("50x10c", 1.16)],
)
def test_the_limit_is_that_of_the_design(text: str, expected: float) -> None:
    assert figures.limit(Case.parse(text), IMAGE_BYTES) == pytest.approx(expected, abs=0.006)


def test_there_is_no_limit_without_a_rate_or_with_bursts() -> None:
    assert figures.limit(Case.parse("10x10@0"), IMAGE_BYTES) is None
    assert figures.limit(Case.parse("10x10b"), IMAGE_BYTES) is None


def test_shares_count_every_run() -> None:
    made = figures.shares([trial("a", "2x0", 2.0), trial("a", "2x0", 4.0)])
    assert made == [(1.0, 0.25), (2.0, 0.5), (2.0, 0.75), (4.0, 1.0)]


def test_tables_line_up() -> None:
    assert figures.aligned([["a", "bb"], ["ccc", ""]]) == "a    bb\nccc"
    assert figures.markdown(["x", "y"], [["a|b", "c"]]) == "| x | y |\n| --- | --- |\n| a/b | c |"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 100, [0, 20, 40, 60, 80, 100]), (1, 2, [1, 1.2, 1.4, 1.6, 1.8, 2]), (5, 5, [5])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert svg.ticks(low, high) == expected


def test_a_chart_is_well_formed_and_inside_its_paper() -> None:
    lines = [
        svg.Line("a & <b>", [(1, 1.0), (200, 9.0)], ranges=[(1, 0.9, 1.2)]),
        svg.Line("steps", [(1, 0), (50, 2)], steps=True),
        svg.Line("nothing", []),
    ]
    chart = svg.Chart("<title>", "x", "y", lines, log_x=True, y_from=0, y_to=5, x_ticks=[1, 200])
    root = ElementTree.fromstring(chart.svg())
    for circle in root.iter(f"{SVG}circle"):
        assert svg.LEFT <= float(circle.attrib["cx"]) <= svg.WIDTH - svg.RIGHT
        assert svg.TOP <= float(circle.attrib["cy"]) <= svg.HEIGHT - svg.BOTTOM
    assert "a & <b>" in [text.text for text in root.iter(f"{SVG}text")]


def test_an_empty_chart_is_a_chart() -> None:
    ElementTree.fromstring(svg.Chart("t", "x", "y", []).svg())


def results() -> report.Results:
    made = report.Results(
        {"cores": 2, "cpu": "some", "versions": {"uftp": "4"}}, [], [["norm", "needs libnorm"]]
    )
    for case in ("10x0", "10x10", "50x10", "50x2@0", "stock-5x0@0"):
        name = "gapcast-stock" if case.startswith("stock") else "gapcast"
        made.trials += [trial(name, case, 3.5, server_cpu_s=0.2, server_kib=4096), trial("uftp", case, None)]
    return made


def test_the_page_has_all_parts(tmp_path: Path) -> None:
    written = report.write(results(), tmp_path)
    page = (tmp_path / "RESULTS.md").read_text()
    for part in ("shared air", "Other rates", "Stock clients", "Plots", "What it costs us", "Versions"):
        assert part in page
    assert "norm took no part: needs libnorm" in page
    assert "**50 boards, 10 % loss**" in page
    names = {path.name for path in written}
    assert {"time-boards.svg", "air-boards.svg", "time-loss.svg", "air-loss.svg", "done-50x10.svg"} <= names
    for path in written[1:]:
        ElementTree.fromstring(path.read_text())
        assert path.name in page


def test_results_survive_their_file(tmp_path: Path) -> None:
    made = results()
    made.save(tmp_path / "a" / "one.json")
    made.save(tmp_path / "two.json")
    back = report.Results.load([tmp_path / "a" / "one.json"])
    assert back == made
    both = report.Results.load([tmp_path / "a" / "one.json", tmp_path / "two.json"])
    assert len(both.trials) == 2 * len(made.trials)
    assert both.left_out == made.left_out


def test_a_page_is_written_from_files_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results().save(tmp_path / "one.json")
    assert run.main(["--from", str(tmp_path / "one.json"), "--report", str(tmp_path)]) == 0
    assert "RESULTS.md" in capsys.readouterr().out
    assert json.loads((tmp_path / "one.json").read_text())["about"]["cores"] == 2


def test_options_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--cases", "10"], ["--only", "nobody"]):
        with pytest.raises(SystemExit):
            run.arguments(argv)
    assert "nobody" in capsys.readouterr().err
    quick = run.arguments(["--quick"])
    assert (quick.repeats, quick.size) == (1, "256k")


def test_every_default_case_is_one() -> None:
    keys = [case.key for case in run.arguments([]).cases]
    assert len(set(keys)) == len(keys)
    assert "200x10@1000000" in keys


def test_a_board_s_clock_is_believed_if_it_can_be() -> None:
    now = 1_500_000.25  # more than 2**30 ms: the board's count has wrapped
    ticks = int(now * 1000) - 40 & (1 << 30) - 1
    assert ours.told_at(ticks, now) == pytest.approx(now - 0.04, abs=0.001)
    assert ours.told_at(ticks + 10_000_000, now) == now


def test_addresses_do_not_repeat() -> None:
    addresses = [Air.address(host) for host in range(1001)]
    assert len(set(addresses)) == len(addresses)
    assert addresses[0] == "10.78.0.1"


def test_bursts_lose_what_they_should() -> None:
    """The rules' own arithmetic: the share that begins a burst, times its length, is the loss."""
    text = burst_rules(Loss(0.1, "burst"), AIR_BPS)
    shares = [int(line.split("< ")[1].split()[0]) for line in text.splitlines() if "numgen" in line]
    started = sum(shares) / 1_000_000  # of the frames outside a burst
    assert 8 * started / (8 * started + 1 - started) == pytest.approx(0.1, abs=0.002)
