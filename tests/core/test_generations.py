"""Generations, block numbers of repair symbols, and the option `lacks`."""

from core_helpers import misused, refused

from gapcast_core import generations as gen


def written(needs, limit=400):
    buf = bytearray(limit)
    end = gen.write_lacks(buf, 0, limit, bytearray(needs), len(needs))
    return bytes(buf[:end]).decode()


def test_a_file_is_cut_into_generations():
    plan = gen.Plan(130, 64)
    assert (plan.count, plan.pairs) == (3, 2)
    units = [gen.alone(g) for g in range(3)]
    assert units == [0, 1, 3]
    assert [plan.size(u) for u in units] == [64, 64, 2]
    assert [plan.first(u) for u in units] == [1, 65, 129]
    assert [plan.end(u) for u in units] == [64, 128, 130]
    assert [plan.of(block) for block in (1, 64, 65, 128, 129, 130)] == [0, 0, 1, 1, 2, 2]
    assert [plan.passed(position) for position in (1, 64, 65, 66, 129, 130, 131)] == [0, 0, 1, 1, 2, 2, 3]


def test_pairs_of_generations():
    plan = gen.Plan(200, 64)
    assert [gen.whole(g) for g in range(4)] == [2, 2, 5, 5]
    assert [(plan.first(u), plan.end(u), plan.size(u)) for u in (2, 5)] == [(1, 128, 128), (129, 200, 72)]
    assert [plan.size(u) for u in (6, 7, 8)] == [0, 0, 0], "there are no such units"
    assert gen.Plan(100, 64).size(gen.whole(0)) == 100


def test_interleaved_generations():
    """Each block is one data symbol of one generation, and of one pair."""
    for total in (1, 63, 65, 200, 1024, 1100, 2057, 4000):
        plan = gen.Plan(total, 64)
        plan.mix()
        for unit_of in (gen.alone, gen.whole):
            units = sorted({unit_of(generation) for generation in range(plan.count)})
            blocks = [[plan.block(unit, j) for j in range(plan.size(unit))] for unit in units]
            assert sorted(block for mine in blocks for block in mine) == list(range(1, total + 1))
            for unit, mine in zip(units, blocks):
                assert len(mine) <= (128 if unit % 3 == gen.WHOLE else 64)
                assert all(plan.first(unit) <= block <= plan.end(unit) for block in mine)
        for generation in range(plan.count):
            mine = [plan.block(gen.alone(generation), j) for j in range(plan.blocks(generation))]
            assert all(plan.of(block) == generation for block in mine)
            assert mine == list(range(mine[0], mine[-1] + 1, plan.step(generation)))


def test_an_interleaved_group_goes_by_as_a_whole():
    plan = gen.Plan(2057, 64)
    plan.mix()
    groups = [0]
    while groups[-1] < plan.count:
        groups.append(plan.until(groups[-1]))
    assert groups == [0, 24, 30, 33], "small ones at the end"
    passed = [plan.passed(block) for block in (1, 1536, 1537, 1920, 1921, 2057, 2058)]
    assert passed == [0, 0, 24, 24, 30, 30, 33]
    assert plan.step(0) == 24
    assert abs(plan.origin(0) - plan.origin(1)) == 12, "a pair's are not neighbours"


def test_the_blocks_asked_for_one_by_one():
    assert gen.parse_surplus("", 9) == []
    assert gen.parse_surplus("7,2,9", 9) == [7, 2, 9]
    assert len(gen.parse_surplus(",".join(["5"] * 40), 9)) == gen.SURPLUS_BLOCKS
    for bad in ("0", "10", "1-2", "1,,2", "a"):
        refused("bad_surplus", gen.parse_surplus, bad, 9)


def test_files_that_block_numbers_cannot_name():
    assert gen.Plan(128 * 64, 64).fits()
    assert not gen.Plan(128 * 64 + 1, 64).fits()
    assert not gen.Plan(0, 64).fits()
    misused(gen.Plan, 10, 0)
    misused(gen.Plan, 10, 65)


def test_a_symbol_s_number():
    assert gen.number(gen.whole(0), 0) == 0x8000
    assert gen.number(gen.whole(2), 127) == 0x817F
    assert gen.number(gen.alone(2), 0) == 0x8180
    assert gen.number(gen.alone(127), 63) == 0xBFFF
    for generation in (0, 1, 2, 127):
        for unit in (gen.alone(generation), gen.whole(generation)):
            for index in (0, 1, gen.max_symbols(unit) - 1):
                number = gen.number(unit, index)
                assert gen.unit_of(number) == unit
                assert gen.symbol_of(number) == 128 + index
                assert gen.unit_of(number | gen.MIXED_FLAG) == unit
                assert not number & gen.MIXED_FLAG


def test_the_server_s_offer():
    assert gen.parse_offer(gen.format_offer("239.194.1.2", 64)) == ("239.194.1.2", 64)
    for bad in ("", "239.194.1.2", "239.194.1.2,", "239.194.1.2,0", "239.194.1.2,129", ",64", "10.0.0.1,64"):
        refused("bad_lacks", gen.parse_offer, bad)
    for bad in ("239.194.1.2,64,", "239.194.1.2,6a", "239.194.1,64", "64,239.194.1.2", "239.194.1.2 ,64"):
        refused("bad_lacks", gen.parse_offer, bad)


def test_a_report_is_short():
    assert written([]) == ""
    assert written([3]) == "3"
    assert written([0, 0, 0, 12, 7, 7]) == "0*3,12,7*2"
    assert written([100, 128, 128]) == "100,128*2"
    assert written([0] * 128) == "0*128"


def test_a_report_says_what_it_says():
    for needs in ([], [1], [0, 0, 5], [9] * 30, [1, 2, 3, 128, 0, 0, 0, 0, 64]):
        assert gen.parse_lacks(written(needs), 256) == needs


def test_a_report_that_does_not_fit_is_cut_at_the_end():
    needs = [n % 7 for n in range(256)]
    text = written(needs, 100)
    assert len(text) <= 100
    told = gen.parse_lacks(text, 256)
    assert len(told) > 40
    assert told == needs[: len(told)]


def test_reports_that_are_refused():
    for bad in (",", "1,", ",1", "-1", "129", "1*1", "1*0", "1*", "*2", "1*2*3", "1*129", "a", "1 ", "0x1"):
        refused("bad_lacks", gen.parse_lacks, bad, 256)
    refused("bad_lacks", gen.parse_lacks, "1,1,1", 2)
    refused("bad_lacks", gen.parse_lacks, "1*3", 2)
    refused("bad_lacks", gen.parse_lacks, ",".join(["1"] * 300), 256)
    assert gen.parse_lacks("1*128", 128) == [1] * 128


def test_what_was_heard():
    buf = bytearray(13)
    for pair in ((0, 0), (65535, 65535), (0x8100, 999), (7, 10000)):
        for mixed in (False, True):
            end = gen.write_heard(buf, 0, pair[0], pair[1], mixed)
            assert gen.parse_heard(bytes(buf[:end]).decode()) == pair + (mixed,)
    for bad in ("", "1", "1,", ",1", "65536,1", "1,65536", "1,2,3", "1,2,0", "1,2,1,1", "a,1"):
        refused("bad_heard", gen.parse_heard, bad)
