"""Pickles as inert records: a machine for protocols 0 to 5 (PEPs 307, 3154, 574) that imports and calls nothing."""

from __future__ import annotations

import codecs
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from struct import Struct, error
from typing import Any

from peace_pipeline.weights.errors import CorruptFile, ExcessiveSize, UnsupportedFormat
from peace_pipeline.weights.formats import joblib

MAX_PICKLE = 64 << 20
"""Bytes of one pickle; the data of PyTorch's tensors lie outside of it."""

MAX_OPCODES = 2_500_000
"""Of one pickle: some 75,000 tensors. It bounds the objects, and so memory and time."""

MAX_NUMBER = 1024
"""Bytes, or digits, of one number."""

MAX_PATH = 1024
"""Characters of the dotted path of something to import."""


class UnfinishedPickle(CorruptFile):
    """One that goes beyond the bytes at hand."""


@dataclass(frozen=True, slots=True)
class Global:
    """What a pickle would import, by its dotted path."""

    path: str


@dataclass(slots=True, eq=False)
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


def loads(file: str, data: bytes, start: int = 0, opcodes: int = MAX_OPCODES) -> Pickle:
    """The pickle at ``start``, of at most so many opcodes.

    Its value is made of numbers, texts, bytes, tuples, lists (sets too) and the records of this module.

    Raises:
        UnfinishedPickle: where ``data`` ends first.
        CorruptFile: where it is no pickle.
        ExcessiveSize: where it takes more than a checkpoint does.
    """
    machine = _Machine(file, data, start)
    try:
        value = machine.run(opcodes)
    except error as failure:
        raise machine.unfinished() from failure
    except (IndexError, KeyError, TypeError, ValueError) as failure:  # no stack or memo, a malformed literal
        raise CorruptFile(f"{file}: no sound pickle ({type(failure).__name__})") from failure
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

    def run(self, opcodes: int) -> Any:
        data, end = self.data, len(self.data)
        for _ in range(opcodes):
            position = self.position
            if position >= end:
                raise self.unfinished()
            opcode = data[position]
            if opcode == _STOP:
                self.position += 1
                return self.stack.pop()
            operation = _OPERATIONS.get(opcode)
            if operation is None:
                raise CorruptFile(f"{self.file}: no pickle: opcode {opcode:#04x}")
            layout, act = operation
            if layout is None:
                self.position = position + 1
                act(self)
            else:
                number = layout.unpack_from(data, position)[0]
                self.position = position + layout.size
                act(self, number)
        raise ExcessiveSize(f"{self.file}: a pickle of more than {opcodes:,} opcodes")

    def unfinished(self) -> UnfinishedPickle:
        return UnfinishedPickle(f"{self.file}: a pickle is cut off at its byte {len(self.data):,}")

    def take(self, count: int) -> bytes:
        start, stop = self.position, self.position + count
        if stop > len(self.data):
            raise self.unfinished()
        self.position = stop
        return self.data[start:stop]

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise self.unfinished()
        line = self.take(end - self.position)
        self.position += 1
        return line

    def marked(self) -> list[Any]:
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def number(self) -> bytes:
        digits = self.line()
        if len(digits) > MAX_NUMBER:
            raise ExcessiveSize(f"{self.file}: a number of {len(digits):,} digits in its pickle")
        return digits

    def index(self) -> int:
        index = int(self.number())
        if not 0 <= index < _MAX_INDEX:
            raise ValueError
        return index

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_integer(self, size: int) -> None:
        if size > MAX_NUMBER:
            raise ExcessiveSize(f"{self.file}: an integer of {size:,} bytes in its pickle")
        self.stack.append(int.from_bytes(self.take(size), "little", signed=True))

    def push_text(self, size: int) -> None:
        self.stack.append(self.take(size).decode("utf-8", "surrogatepass"))

    def push_bytes(self, size: int) -> None:
        self.stack.append(self.take(size))

    def push_old_text(self, size: int) -> None:
        self.stack.append(_old_text(self.take(size)))

    def push_quoted(self) -> None:
        line = self.line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise ValueError
        self.stack.append(_old_text(codecs.escape_decode(line[1:-1])[0]))

    def push_escaped(self) -> None:
        self.stack.append(codecs.raw_unicode_escape_decode(self.line())[0])

    def push_whole(self) -> None:
        digits = self.number()
        self.stack.append(digits == b"01" if digits in (b"00", b"01") else int(digits))

    def push_global(self) -> None:
        self.stack.append(self.named_global())

    def named_global(self) -> Global:
        return Global(f"{self.line().decode()}.{self.line().decode()}")

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def drop(self) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def gather(self, kind: Callable[[list[Any]], Any]) -> None:
        self.stack.append(kind(self.marked()))

    def gather_items(self) -> None:
        flat = self.marked()
        self.stack.append(Items())
        self.set_items(flat)

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
        maker = self.named_global()
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
            if target.maker == _JOBLIB_ARRAY:
                self.fill(target)

    def fill(self, array: Object) -> None:
        """Take the values of an array of joblib, which follow its description, so that it is as NumPy pickles one."""
        state = dict(zip(map(str, array.state[::2]), array.state[1::2], strict=True))
        shape, layout = state["shape"], state["dtype"]
        if state.get("numpy_array_alignment_bytes") is not None:
            self.take(self.take(1)[0])
        size = joblib.size_of(self.file, shape, layout.arguments[0] if isinstance(layout, Object) else None)
        array.maker, array.arguments = _BUFFER, (self.take(size), layout, shape, state["order"])

    def refer(self) -> None:
        self.persistent.append(Persistent(self.stack.pop()))
        self.stack.append(self.persistent[-1])

    def check_protocol(self, protocol: int) -> None:
        if protocol > pickle.HIGHEST_PROTOCOL:
            raise UnsupportedFormat(f"{self.file}: a pickle of protocol {protocol}")


def _old_text(value: bytes) -> str | bytes:
    """A string of Python 2, which may be text or bytes."""
    return value.decode() if value.isascii() else value


_JOBLIB_ARRAY = Global("joblib.numpy_pickle.NumpyArrayWrapper")
_BUFFER = Global("numpy._core.numeric._frombuffer")
_STOP = pickle.STOP[0]
_MAX_INDEX = 1 << 32
_DICTS = {"collections.OrderedDict", "builtins.dict", "__builtin__.dict"}
_SETS = {f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "frozenset")}
_BYTES = {"builtins.bytes", "__builtin__.bytes"}

_U1, _U2, _U4, _U8, _I4, _F8 = map(Struct, ("<xB", "<xH", "<xI", "<xQ", "<xi", ">xd"))

_OPERATIONS: dict[int, tuple[Struct | None, Callable[..., object]]] = {
    opcode[0]: (layout, act)
    for opcode, layout, act in (
        (pickle.PROTO, _U1, _Machine.check_protocol),
        (pickle.FRAME, _U8, lambda _machine, _size: None),
        # Constants and numbers
        (pickle.NONE, None, partial(_Machine.push, value=None)),
        (pickle.NEWTRUE, None, partial(_Machine.push, value=True)),
        (pickle.NEWFALSE, None, partial(_Machine.push, value=False)),
        (pickle.BININT, _I4, _Machine.push),
        (pickle.BININT1, _U1, _Machine.push),
        (pickle.BININT2, _U2, _Machine.push),
        (pickle.BINFLOAT, _F8, _Machine.push),
        (pickle.LONG1, _U1, _Machine.push_integer),
        (pickle.LONG4, _U4, _Machine.push_integer),
        (pickle.INT, None, _Machine.push_whole),
        (pickle.LONG, None, lambda machine: machine.push(int(machine.number().removesuffix(b"L")))),
        (pickle.FLOAT, None, lambda machine: machine.push(float(machine.number()))),
        # Texts and bytes
        (pickle.SHORT_BINUNICODE, _U1, _Machine.push_text),
        (pickle.BINUNICODE, _U4, _Machine.push_text),
        (pickle.BINUNICODE8, _U8, _Machine.push_text),
        (pickle.SHORT_BINBYTES, _U1, _Machine.push_bytes),
        (pickle.BINBYTES, _U4, _Machine.push_bytes),
        (pickle.BINBYTES8, _U8, _Machine.push_bytes),
        (pickle.BYTEARRAY8, _U8, _Machine.push_bytes),
        (pickle.SHORT_BINSTRING, _U1, _Machine.push_old_text),
        (pickle.BINSTRING, _U4, _Machine.push_old_text),
        (pickle.STRING, None, _Machine.push_quoted),
        (pickle.UNICODE, None, _Machine.push_escaped),
        # The stack and the memo
        (pickle.MARK, None, _Machine.mark),
        (pickle.POP, None, _Machine.drop),
        (pickle.POP_MARK, None, _Machine.marked),
        (pickle.DUP, None, lambda machine: machine.push(machine.stack[-1])),
        (pickle.MEMOIZE, None, lambda machine: machine.remember(len(machine.memo))),
        (pickle.BINPUT, _U1, _Machine.remember),
        (pickle.LONG_BINPUT, _U4, _Machine.remember),
        (pickle.PUT, None, lambda machine: machine.remember(machine.index())),
        (pickle.BINGET, _U1, _Machine.recall),
        (pickle.LONG_BINGET, _U4, _Machine.recall),
        (pickle.GET, None, lambda machine: machine.recall(machine.index())),
        # Containers
        (pickle.EMPTY_TUPLE, None, partial(_Machine.push, value=())),
        (pickle.EMPTY_LIST, None, lambda machine: machine.push([])),
        (pickle.EMPTY_SET, None, lambda machine: machine.push([])),
        (pickle.EMPTY_DICT, None, lambda machine: machine.push(Items())),
        (pickle.TUPLE, None, partial(_Machine.gather, kind=tuple)),
        (pickle.TUPLE1, None, partial(_Machine.gather_last, count=1)),
        (pickle.TUPLE2, None, partial(_Machine.gather_last, count=2)),
        (pickle.TUPLE3, None, partial(_Machine.gather_last, count=3)),
        (pickle.LIST, None, partial(_Machine.gather, kind=list)),
        (pickle.FROZENSET, None, partial(_Machine.gather, kind=list)),
        (pickle.DICT, None, _Machine.gather_items),
        (pickle.APPEND, None, lambda machine: machine.append([machine.stack.pop()])),
        (pickle.APPENDS, None, lambda machine: machine.append(machine.marked())),
        (pickle.ADDITEMS, None, lambda machine: machine.append(machine.marked())),
        (pickle.SETITEM, None, lambda machine: machine.set_items(machine.last_two())),
        (pickle.SETITEMS, None, lambda machine: machine.set_items(machine.marked())),
        # What a pickle would import, call or find elsewhere
        (pickle.GLOBAL, None, _Machine.push_global),
        (pickle.STACK_GLOBAL, None, _Machine.import_from_stack),
        (pickle.REDUCE, None, _Machine.make),
        (pickle.NEWOBJ, None, _Machine.make),
        (pickle.NEWOBJ_EX, None, _Machine.make_with_options),
        (pickle.OBJ, None, _Machine.make_marked),
        (pickle.INST, None, _Machine.make_named),
        (pickle.BUILD, None, _Machine.build),
        (pickle.BINPERSID, None, _Machine.refer),
    )
}
"""Opcode → its layout with the number after it, and what it does with that; all but those for extension codes, buffers
out of band and persistent ids of protocol 0."""
