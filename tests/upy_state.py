"""What state MicroPython keeps for each function of a module: read from what mpy-cross makes of it.

    python tests/upy_state.py FILE ...      lists the functions above the limit

The format is MicroPython's (py/persistentcode.c, py/bc.h of 1.23 and later). A function has no full name in
it, so names come from the source, whose functions are in the same order.
"""

from __future__ import annotations

import ast
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gapcast_tools.upy_compile import compile_trees

# VM_MAX_STATE_ON_STACK in py/objfun.c: so many words of state a call keeps on the C stack: its locals and its
# operands, and three more for each `try`, `finally` and `with` within one another (`except ... as` is two).
# A function with more takes them from the heap at every call, and MicroPython then looks for room from the
# heap's start on, past all that lives there. A locked heap does not show it: then the C stack is used after
# all.
MAX_STATE_WORDS = 11
_EXCEPTION_WORDS = 3  # mp_exc_stack_t
_BYTECODE = 0
_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)
_TEXT = (5, 6)  # str and bytes among constants, which end with NUL
_NUMBERS = (7, 8, 9)
_TUPLE = 10


@dataclass
class Code:
    """One function, class body or module, compiled."""

    words: int
    name: str  # "" when it is one of those that MicroPython numbers itself
    children: list[Code]


class Reader:
    """The bytes of a .mpy file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 4
        names, constants = self.number(), self.number()
        self._names = [self._name() for _name in range(names)]
        for _constant in range(constants):
            self._skip_constant()

    def number(self) -> int:
        value = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value = value << 7 | byte & 0x7F
            if not byte & 0x80:
                return value

    def _name(self) -> str:
        length = self.number()
        if length & 1:
            return ""
        start = self._at
        self._at += length // 2 + 1
        return self._data[start : self._at - 1].decode()

    def _skip_constant(self) -> None:
        kind = self._data[self._at]
        self._at += 1
        if kind == _TUPLE:
            for _item in range(self.number()):
                self._skip_constant()
        elif kind in _TEXT or kind in _NUMBERS:
            length = self.number()
            self._at += length + (kind in _TEXT)

    def code(self) -> Code:
        head = self.number()
        if head & 3 != _BYTECODE:
            raise ValueError("native code")
        end = self._at + (head >> 3)
        words = self._words()
        name = self._names[self.number()]
        self._at = end
        children = [self.code() for _child in range(self.number())] if head & 4 else []
        return Code(words, name, children)

    def _words(self) -> int:
        """What MP_BC_PRELUDE_SIG_DECODE and _SIZE_DECODE read."""
        byte = self._data[self._at]
        states, exceptions, n = (byte >> 3) & 15, (byte >> 2) & 1, 0
        while byte & 0x80:
            self._at += 1
            byte = self._data[self._at]
            states |= (byte & 0x30) << 2 * n
            exceptions |= (byte & 2) << n
            n += 1
        self._at += 1
        while self._data[self._at] & 0x80:
            self._at += 1
        self._at += 1
        return states + 1 + _EXCEPTION_WORDS * exceptions


def inner(node: ast.AST) -> Iterator[ast.AST]:
    """The functions and classes within a node, in order, but not within one another."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _SCOPES):
            yield child
        else:
            yield from inner(child)


def named(code: Code, node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
    nodes = list(inner(node))
    assert len(nodes) == len(code.children), prefix
    for child, part in zip(nodes, code.children, strict=True):
        name = getattr(child, "name", "<nameless>")
        assert not part.name or part.name == name or part.name[0] == "<", (part.name, name)
        yield prefix + name, part.words
        yield from named(part, child, prefix + name + ".")


def states(source: Path) -> dict[str, int]:
    """Words of state by function of a module, with its classes: "Class.function"."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        tree.mkdir()
        text = source.read_text()
        (tree / source.name).write_text(text)
        compiled = compile_trees([tree], Path(name) / "out")
        if compiled.reason:
            raise RuntimeError(compiled.reason)
        data = (compiled.path / source.with_suffix(".mpy").name).read_bytes()
    return dict(named(Reader(data).code(), ast.parse(text), ""))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        for function, words in states(Path(argument)).items():
            if words > MAX_STATE_WORDS:
                print(f"{argument}: {function} {words}")
