"""Pickles as inert records: a machine for protocols 0 to 5 (PEPs 307, 3154, 574) that imports and calls nothing."""

from __future__ import annotations

import codecs
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from struct import Struct
from typing import Any

from peace_pipeline.weights.errors import CorruptFile, ExcessiveSize, UnsupportedFormat

MAX_PICKLE = 64 << 20
"""Bytes of one pickle; the data of PyTorch's tensors lie outside of it."""

MAX_OPCODES = 5_000_000
"""Of one pickle: some 150,000 tensors. It bounds the objects, and so the memory and the time, that a pickle takes."""

MAX_NUMBER = 1024
"""Bytes, or digits, of one number."""

MAX_PATH = 1024
"""Characters of the dotted path of something to import."""


class UnfinishedPickle(CorruptFile):
    """A pickle that goes beyond the bytes at hand."""


@dataclass(frozen=True, slots=True)
class Global:
    """What a pickle would import, by its dotted path."""

    path: str


@dataclass(frozen=True, slots=True)
class Persistent:
    """What a pickle says lies outside of it, by its id."""

    id: Any


class Items(list[Any]):
    """Keys and values of a dictionary in turn; keys are not hashed, so none can be chosen to collide."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class Object:
    """What calling ``maker`` with ``arguments`` would have made, had it been called."""

    maker: Any
    arguments: Any
    state: Any = None
    items: Items | None = None


@dataclass(frozen=True)
class Pickle:
    """A pickle's value, the position after it, and what it says lies outside of it, in order."""

    value: Any
    stop: int
    persistent: list[Persistent]


def loads(file: str, data: bytes, start: int = 0) -> Pickle:
    """The pickle at ``start``, of numbers, texts, bytes, tuples, lists (sets too) and the records of this module.

    Raises:
        UnfinishedPickle: where ``data`` ends first.
        CorruptFile: where it is no pickle.
        ExcessiveSize: where it takes more than a checkpoint does.
    """
    machine = _Machine(file, data, start)
    try:
        value = machine.run()
    except (
        IndexError,
        KeyError,
        ValueError,
        TypeError,
    ) as error:  # an empty stack or memo, a malformed literal
        raise CorruptFile(f"{file}: no sound pickle ({type(error).__name__})") from error
    return Pickle(value, machine.position, machine.persistent)


@dataclass
class _Machine:
    file: str
    data: bytes
    position: int
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    persistent: list[Persistent] = field(default_factory=list)
    encoded: int = 0

    def run(self) -> Any:
        data, end = self.data, len(self.data)
        for _ in range(MAX_OPCODES):
            position = self.position
            if position >= end:
                raise self._unfinished()
            opcode = data[position]
            self.position = position + 1
            if opcode == _STOP:
                return self.stack.pop()
            handler = _HANDLERS.get(opcode)
            if handler is None:
                raise CorruptFile(f"{self.file}: no pickle: opcode {opcode:#04x}")
            handler(self)
        raise ExcessiveSize(f"{self.file}: a pickle of more than {MAX_OPCODES:,} opcodes")

    def _unfinished(self) -> UnfinishedPickle:
        return UnfinishedPickle(f"{self.file}: a pickle is cut off at its byte {len(self.data):,}")

    def take(self, count: int) -> bytes:
        start, stop = self.position, self.position + count
        if stop > len(self.data):
            raise self._unfinished()
        self.position = stop
        return self.data[start:stop]

    def line(self) -> str:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise self._unfinished()
        text = self.take(end - self.position).decode()
        self.position += 1
        return text

    def marked(self) -> list[Any]:
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def number(self, layout: Struct) -> Any:
        return layout.unpack(self.take(layout.size))[0]

    def integer(self, value: bytes) -> int:
        if len(value) > MAX_NUMBER:
            raise ExcessiveSize(f"{self.file}: an integer of {len(value):,} bytes in its pickle")
        return int.from_bytes(value, "little", signed=True)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_number(self, layout: Struct) -> None:
        self.stack.append(self.number(layout))

    def push_sized(self, length: Struct, value: Callable[[_Machine, bytes], Any]) -> None:
        self.stack.append(value(self, self.take(self.number(length))))

    def push_line(self, value: Callable[[_Machine, str], Any]) -> None:
        self.stack.append(value(self, self.line()))

    def numeral(self) -> str:
        text = self.line()
        if len(text) > MAX_NUMBER:
            raise ExcessiveSize(f"{self.file}: a number of {len(text):,} digits in its pickle")
        return text

    def digits(self) -> int:
        return int(self.numeral().removesuffix("L"))

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def drop(self) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def gather(self, kind: Callable[[list[Any]], Any]) -> None:
        self.stack.append(kind(self.marked()))

    def gather_last(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target += values
        elif not isinstance(target, Object):  # the elements of an unknown kind of list aren't needed
            raise TypeError

    def set_items(self, flat: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Object):
            target.items = Items() if target.items is None else target.items
            target = target.items
        if not isinstance(target, Items) or len(flat) % 2:
            raise TypeError
        target += flat

    def last_two(self) -> list[Any]:
        value, key = self.stack.pop(), self.stack.pop()
        return [key, value]

    def import_from_stack(self) -> None:
        module, name = self.last_two()
        if type(module) is not str or type(name) is not str or len(module) + len(name) > MAX_PATH:
            raise TypeError
        self.stack.append(Global(f"{module}.{name}"))

    def make(self) -> None:
        maker, arguments = self.last_two()
        self.stack.append(self.made(maker, arguments))

    def make_with_options(self) -> None:
        self.stack.pop()
        self.make()

    def make_marked(self) -> None:
        maker, *arguments = self.marked()
        self.stack.append(self.made(maker, tuple(arguments)))

    def make_named(self) -> None:
        maker = Global(f"{self.line()}.{self.line()}")
        self.stack.append(self.made(maker, tuple(self.marked())))

    def made(self, maker: Any, arguments: Any) -> Any:
        """A dictionary, a set or bytes where those are made; else a record."""
        if isinstance(maker, Global) and type(arguments) is tuple:
            if maker.path == "collections.defaultdict" or (maker.path in _DICTS and not arguments):
                return Items()
            if maker.path in _SETS and len(arguments) == 1 and type(arguments[0]) is list:
                return arguments[0]
            if maker.path == "_codecs.encode" and len(arguments) == 2 and type(arguments[0]) is str:
                return self.encode(arguments[0])
            if maker.path in _BYTES and not arguments:
                return b""
        return Object(maker, arguments)

    def encode(self, text: str) -> bytes:
        """Bytes as protocols before 3 write them, unless one text is to stand for more than the whole pickle."""
        self.encoded += len(text)
        if self.encoded > len(self.data):
            raise ExcessiveSize(f"{self.file}: a pickle of more bytes than it has")
        return text.encode("latin-1")

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Object):
            target.state = state

    def refer(self) -> None:
        reference = Persistent(self.stack.pop())
        self.persistent.append(reference)
        self.stack.append(reference)

    def check_protocol(self) -> None:
        protocol = self.take(1)[0]
        if protocol > pickle.HIGHEST_PROTOCOL:
            raise UnsupportedFormat(f"{self.file}: a pickle of protocol {protocol}")


_DICTS = {"collections.OrderedDict", "builtins.dict", "__builtin__.dict"}
_SETS = {f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "frozenset")}
_BYTES = {"builtins.bytes", "__builtin__.bytes"}


def _text(_: _Machine, value: bytes) -> str:
    return value.decode("utf-8", "surrogatepass")


def _bytes(_: _Machine, value: bytes) -> bytes:
    return value


def _old_text(_: _Machine, value: bytes) -> str | bytes:
    """A string of Python 2, which may be text or bytes."""
    return value.decode() if value.isascii() else value


def _quoted(machine: _Machine, line: str) -> str | bytes:
    if len(line) < 2 or line[0] != line[-1] or line[0] not in "'\"":
        raise ValueError
    return _old_text(machine, codecs.escape_decode(line[1:-1].encode())[0])


def _escaped(_: _Machine, line: str) -> str:
    return line.encode("latin-1").decode("raw-unicode-escape")


def _whole(machine: _Machine) -> int | bool:
    text = machine.numeral()
    return text == "01" if text in ("00", "01") else int(text)


_U1, _U2, _U4, _U8, _I4 = Struct("<B"), Struct("<H"), Struct("<I"), Struct("<Q"), Struct("<i")
_STOP = pickle.STOP[0]

_HANDLERS: dict[int, Callable[[_Machine], Any]] = {
    pickle.PROTO[0]: _Machine.check_protocol,
    pickle.FRAME[0]: lambda machine: machine.take(_U8.size),
    # Constants and numbers
    pickle.NONE[0]: partial(_Machine.push, value=None),
    pickle.NEWTRUE[0]: partial(_Machine.push, value=True),
    pickle.NEWFALSE[0]: partial(_Machine.push, value=False),
    pickle.BININT[0]: partial(_Machine.push_number, layout=_I4),
    pickle.BININT1[0]: lambda machine: machine.push(machine.take(1)[0]),
    pickle.BININT2[0]: partial(_Machine.push_number, layout=_U2),
    pickle.BINFLOAT[0]: partial(_Machine.push_number, layout=Struct(">d")),
    pickle.LONG1[0]: partial(_Machine.push_sized, length=_U1, value=_Machine.integer),
    pickle.LONG4[0]: partial(_Machine.push_sized, length=_U4, value=_Machine.integer),
    pickle.INT[0]: lambda machine: machine.push(_whole(machine)),
    pickle.LONG[0]: lambda machine: machine.push(machine.digits()),
    pickle.FLOAT[0]: lambda machine: machine.push(float(machine.numeral())),
    # Texts and bytes
    pickle.SHORT_BINUNICODE[0]: partial(_Machine.push_sized, length=_U1, value=_text),
    pickle.BINUNICODE[0]: partial(_Machine.push_sized, length=_U4, value=_text),
    pickle.BINUNICODE8[0]: partial(_Machine.push_sized, length=_U8, value=_text),
    pickle.SHORT_BINBYTES[0]: partial(_Machine.push_sized, length=_U1, value=_bytes),
    pickle.BINBYTES[0]: partial(_Machine.push_sized, length=_U4, value=_bytes),
    pickle.BINBYTES8[0]: partial(_Machine.push_sized, length=_U8, value=_bytes),
    pickle.BYTEARRAY8[0]: partial(_Machine.push_sized, length=_U8, value=_bytes),
    pickle.SHORT_BINSTRING[0]: partial(_Machine.push_sized, length=_U1, value=_old_text),
    pickle.BINSTRING[0]: partial(_Machine.push_sized, length=_U4, value=_old_text),
    pickle.STRING[0]: partial(_Machine.push_line, value=_quoted),
    pickle.UNICODE[0]: partial(_Machine.push_line, value=_escaped),
    # The stack and the memo
    pickle.MARK[0]: _Machine.mark,
    pickle.POP[0]: _Machine.drop,
    pickle.POP_MARK[0]: _Machine.marked,
    pickle.DUP[0]: lambda machine: machine.push(machine.stack[-1]),
    pickle.MEMOIZE[0]: lambda machine: machine.remember(len(machine.memo)),
    pickle.BINPUT[0]: lambda machine: machine.remember(machine.take(1)[0]),
    pickle.LONG_BINPUT[0]: lambda machine: machine.remember(machine.number(_U4)),
    pickle.PUT[0]: lambda machine: machine.remember(machine.digits()),
    pickle.BINGET[0]: lambda machine: machine.recall(machine.take(1)[0]),
    pickle.LONG_BINGET[0]: lambda machine: machine.recall(machine.number(_U4)),
    pickle.GET[0]: lambda machine: machine.recall(machine.digits()),
    # Containers
    pickle.EMPTY_TUPLE[0]: partial(_Machine.push, value=()),
    pickle.EMPTY_LIST[0]: lambda machine: machine.push([]),
    pickle.EMPTY_SET[0]: lambda machine: machine.push([]),
    pickle.EMPTY_DICT[0]: lambda machine: machine.push(Items()),
    pickle.TUPLE[0]: partial(_Machine.gather, kind=tuple),
    pickle.TUPLE1[0]: partial(_Machine.gather_last, count=1),
    pickle.TUPLE2[0]: partial(_Machine.gather_last, count=2),
    pickle.TUPLE3[0]: partial(_Machine.gather_last, count=3),
    pickle.LIST[0]: partial(_Machine.gather, kind=list),
    pickle.FROZENSET[0]: partial(_Machine.gather, kind=list),
    pickle.DICT[0]: partial(_Machine.gather, kind=Items),
    pickle.APPEND[0]: lambda machine: machine.append([machine.stack.pop()]),
    pickle.APPENDS[0]: lambda machine: machine.append(machine.marked()),
    pickle.ADDITEMS[0]: lambda machine: machine.append(machine.marked()),
    pickle.SETITEM[0]: lambda machine: machine.set_items(machine.last_two()),
    pickle.SETITEMS[0]: lambda machine: machine.set_items(machine.marked()),
    # What a pickle would import, call or find elsewhere
    pickle.GLOBAL[0]: lambda machine: machine.push(Global(f"{machine.line()}.{machine.line()}")),
    pickle.STACK_GLOBAL[0]: _Machine.import_from_stack,
    pickle.REDUCE[0]: _Machine.make,
    pickle.NEWOBJ[0]: _Machine.make,
    pickle.NEWOBJ_EX[0]: _Machine.make_with_options,
    pickle.OBJ[0]: _Machine.make_marked,
    pickle.INST[0]: _Machine.make_named,
    pickle.BUILD[0]: _Machine.build,
    pickle.BINPERSID[0]: _Machine.refer,
}
"""Every opcode but those for extension codes, buffers out of band and persistent ids of protocol 0."""
