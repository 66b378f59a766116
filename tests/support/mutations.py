"""Hypothesis strategies that change files: their bytes, the trees in JSON and YAML, tables."""

import copy
import json
from collections.abc import Callable, Iterator, Sequence

from hypothesis import strategies as st

_WORD = st.integers(0, 0xFFFF)
"""Places, sizes and choices: each change takes of a word what it needs."""

_HEADER = 160
"""Bytes at the start, which every second change falls on: sizes and types stand there."""


def _over(length: int) -> Callable[..., bytes]:
    """Write a number or filling over some bytes."""

    def change(data: bytes, other: bytes, at: int, n: int, value: int) -> bytes:
        filling = bytes([(0, 255, 32, value % 256)[value % 4]]) * n
        new = value.to_bytes(2, "little")[:length] or filling
        return data[:at] + new + data[at + len(new) :]

    return change


_BYTE_CHANGES = {
    "bit": lambda d, o, at, n, v: (
        d[:at] + bytes(b ^ 1 << v % 8 for b in d[at : at + 1]) + d[at + 1 :]
    ),
    "byte": _over(1),
    "number": _over(2),
    "filling": _over(0),
    "cut": lambda d, o, at, n, v: d[:at],
    "without": lambda d, o, at, n, v: d[:at] + d[at + n :],
    "twice": lambda d, o, at, n, v: d[: at + n] + d[at:],
    "insert": lambda d, o, at, n, v: (
        d[:at] + (v * 0x9E3779B97F4A7C15).to_bytes(10, "big")[-n:] + d[at:]
    ),
    "splice": lambda d, o, at, n, v: d[:at] + o[v * len(o) >> 16 :],
    "piece": lambda d, o, at, n, v: d[:at] + o[at : at + n] + d[at + n :],
}

_CHANGES = st.lists(st.tuples(st.sampled_from([*_BYTE_CHANGES]), _WORD, _WORD, _WORD), max_size=3)


def changed_bytes(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of some files with up to three changes: bits, cuts, copies, zeros, pieces of another."""
    return st.builds(_changed, st.sampled_from(seeds), st.sampled_from(seeds), _CHANGES)


def _changed(data: bytes, other: bytes, changes: list[tuple]) -> bytes:
    for kind, where, size, value in changes:
        near = max(1, min(len(data), _HEADER))
        at = where // 2 % near if where % 2 else where * len(data) >> 16
        n = 1 + (size * (len(data) - at) >> 16 if size % 4 == 0 else size % 16)
        data = _BYTE_CHANGES[kind](data, other, at, n, value)
    return data


_ENCODINGS = st.sampled_from((*["utf-8"] * 12, "utf-8-sig", "utf-16", "latin-1"))


def _encoded(text: str, encoding: str, changes: list[tuple], value: int) -> bytes:
    """Every fourth text with changed bytes, too."""
    data = text.encode(encoding, "replace")
    return _changed(data, data, changes) if value % 4 == 0 else data


_RAW = {"[": "[" * 100_000, "[]": "[" * 600 + "]" * 600, "9": "9" * 5000}
_RAW_YAML = {"date": "2001-99-99", "loop": "&a [*a]", "python": "!!python/name:os.system"}
"""What no tree can hold; a marker stands for it until the tree is text."""

_ODD = (
    *(None, True, 0, 1, -1, 7.5, 1e308, 10**30, float("nan"), float("inf"), "9" * 400),
    *("", " ", "a", "é", "\0", "\ud800", "%s{0}{}$x", "../../a", "/", "~", "x" * 300),
    *([], {}, [[]], [None], [0], [""], {"a": None}, {"": 1}, {"1": "b"}, [["a", 1]]),
    *(f"@{name}" for name in _RAW | _RAW_YAML),
)


def changed_tree(seeds: Sequence[object], *, yaml: bool = False) -> st.SearchStrategy[bytes]:
    """JSON (YAML is more than that) with nodes changed, in some encoding, or with changed bytes."""
    kinds = ("put", "put", "put", "drop", "wrap", "move", "add", "twice")
    changes = st.lists(st.tuples(st.sampled_from(kinds), _WORD, _WORD), max_size=2)
    raw = _RAW | _RAW_YAML if yaml else _RAW

    def made(seed, changes, encoding, of_bytes, value):
        root, again = [copy.deepcopy(seed)], []
        for change in changes:
            again += _change_tree(root, *change)
        text = json.dumps(root[0], ensure_ascii=value % 3 == 0, indent=value % 2 or None)
        for name, replacement in raw.items():
            text = text.replace(f'"@{name}"', replacement)
        for name in again:
            text = text.replace(f'"{name}":', f'"{name}": null, "{name}":', 1)
        return _encoded(text, encoding, of_bytes, value)

    return st.builds(made, st.sampled_from(seeds), changes, _ENCODINGS, _CHANGES, _WORD)


def _change_tree(root: list, kind: str, at: int, value: int) -> list[str]:
    """Change one node below a root; names that the text is to have twice."""
    places = [*_places(root)]
    holder, key = places[at % len(places)]
    other, other_key = places[value % len(places)]
    odd = copy.deepcopy(_ODD[value % len(_ODD)])
    if kind == "twice":
        return [key] if isinstance(key, str) else []
    if kind == "drop" and holder is not root:
        del holder[key]
    elif kind == "wrap":
        holder[key] = {"a": holder[key]} if value % 2 else [holder[key]]
    elif kind == "move":
        holder[key] = copy.deepcopy(other[other_key])
    elif kind == "add" and isinstance(holder, dict):
        holder[odd if isinstance(odd, str) else "b"] = 1
    else:
        holder[key] = odd
    return []


def _places(node: object) -> Iterator[tuple]:
    """Each holder with each of its keys, from the root down."""
    keys = range(len(node)) if isinstance(node, list) else node if isinstance(node, dict) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])


_CELLS = (
    *("", " ", "0", "1", "-1", "1e400", "nan", "inf", "1,5", "1_0", "０", "²", "2**3", "=1+1"),
    *("é", "\0", '"', "'", '""', "\n", "\r", ";", ",", "\t", "../a", "/", "..", ".", "x" * 300),
    *("images", "images/", "http://a/b.png", "C:\\a.png", "a.png", "train", "test", "\x1a"),
)


def changed_table(text: str, separator: str) -> st.SearchStrategy[bytes]:
    """A table with cells, rows or columns changed, in some encoding, or with changed bytes."""
    seed = [line.split(separator) for line in text.splitlines()]
    kinds = ("put", "put", "put", "insert", "drop", "row", "again", "column", "swap", "end", "cut")
    changes = st.lists(st.tuples(st.sampled_from(kinds), _WORD, _WORD), max_size=3)
    separators = st.sampled_from((*[separator] * 9, ",", ";", "\t", "|"))

    def made(changes, separator, end, encoding, of_bytes, value):
        rows = [list(row) for row in seed]
        for change in changes:
            rows = _change_table(rows, *change)
        text = end.join(separator.join(row) for row in rows)
        return _encoded(text, encoding, of_bytes, value)

    ends = st.sampled_from(("\n", "\n", "\n", "\r\n", "\r", "\n\n"))
    return st.builds(made, changes, separators, ends, _ENCODINGS, _CHANGES, _WORD)


def _change_table(rows: list[list[str]], kind: str, at: int, value: int) -> list[list[str]]:
    row = rows[at % len(rows)] if rows else []
    if not row:
        return rows
    cell, odd = at // 7 % len(row), _CELLS[value % len(_CELLS)]
    if kind == "put":
        row[cell] = odd
    elif kind == "insert":
        row.insert(cell, odd)
    elif kind == "drop":
        del row[cell]
    elif kind == "row":
        rows.remove(row)
    elif kind == "again":
        rows.append(list(row))
    elif kind == "column":
        return [[*each[:cell], *each[cell + 1 :]] for each in rows]
    elif kind == "swap":
        row[cell], row[0] = row[0], row[cell]
    elif kind == "end":  # a separator at the end of some rows or of all
        return [[*each, ""] if at % len(rows) <= n else each for n, each in enumerate(rows)]
    else:
        return rows[: value % 2]
    return rows
