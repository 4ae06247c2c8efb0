"""The pool of groups."""

from __future__ import annotations

import ipaddress

from gapcast.protocol.groups import GroupPool, _is_flooded, repair_group

NET = ipaddress.ip_network("239.192.0.0/14")


def test_groups_are_in_the_organization_local_scope_and_differ() -> None:
    pool = GroupPool(start=(1 << 18) - 3, limit=1000)
    groups = [pool.acquire(0.0) for _ in range(1000)]
    assert None not in groups
    addresses = [ipaddress.ip_address(group[0]) for group in groups if group]
    assert len(set(addresses)) == 1000
    assert all(address in NET for address in addresses)
    assert all(1024 <= group[1] < 32768 for group in groups if group)


def test_the_pool_has_an_end() -> None:
    pool = GroupPool(start=0, limit=2)
    first = pool.acquire(0.0)
    assert first
    assert pool.acquire(0.0)
    assert pool.acquire(0.0) is None
    pool.release(first, 0.0)
    assert pool.acquire(0.0)


def test_a_released_group_rests() -> None:
    pool = GroupPool(start=5, limit=64)
    seen = set()
    for _ in range(300):
        group = pool.acquire(1.0)
        assert group
        assert group not in seen
        seen.add(group)
        pool.release(group, 1.0)


def test_macs_of_224_0_0_are_known() -> None:
    """224.0.0.1 and 239.128.0.1 share 01:00:5e:00:00:01, which switches flood."""
    assert _is_flooded(int(ipaddress.ip_address("239.128.0.1")))
    assert not _is_flooded(int(ipaddress.ip_address("239.192.0.1")))


def test_each_group_has_a_twin_that_is_no_other_session_s() -> None:
    pool = GroupPool(start=(1 << 17) - 3, limit=1000)
    groups = [group for _ in range(1000) if (group := pool.acquire(0.0))]
    twins = [repair_group(group) for group in groups]
    assert len({*groups, *twins}) == 2000
    assert all(ipaddress.ip_address(twin[0]) in NET for twin in twins)
    assert [twin[1] for twin in twins] == [group[1] for group in groups]
