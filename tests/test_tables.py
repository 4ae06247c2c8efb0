"""The board's objects of the hot loop: how full the tables are in which MicroPython keeps their attributes.

A method is looked up in the instance first, where it is not: of a full table each slot is read (py/map.c).
`Receiver` had 29 attributes in 29 slots and `Download` 17 in 17: one more makes the table larger, and a frame
cost 4 % less.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gapcast_core

LIBRARY = Path(gapcast_core.__file__).parents[1]
SLOTS = (12, 17, 23, 29, 37, 47, 59, 73)  # hash_allocation_sizes of py/map.c; smaller ones cost little


def attributes(source: str, name: str) -> set[str]:
    """What the methods of a class assign to `self`."""
    [found] = [
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name
    ]
    return {
        node.attr
        for node in ast.walk(found)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def test_no_class_has_a_property() -> None:
    """MicroPython looks each store into an object up in its class, if that has one (py/objtype.c).

    Three stores cost 0.17 us, and 0.95 us in a class with a property.
    """
    found = [
        f"{path.name}:{node.lineno} {node.name}"
        for path in sorted(LIBRARY.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and any(map(_is_property, node.decorator_list))
    ]
    assert not found


def _is_property(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Name) and decorator.id == "property"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("gapcast_core/receiver.py", "Receiver"),
        ("gapcast_core/mender.py", "Mender"),
        ("gapcast_core/fec.py", "Pool"),
        ("gapcast_boot/download.py", "Download"),
    ],
)
def test_a_tenth_of_each_table_is_free(module: str, name: str) -> None:
    count = len(attributes((LIBRARY / module).read_text(), name))
    slots = next(slots for slots in SLOTS if slots >= count)
    assert slots - count >= slots / 10, f"{name} has {count} attributes in a table of {slots}"
