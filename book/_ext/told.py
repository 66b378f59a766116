"""What a page can tell: with the numbers that a run has, of the chapters that its profile has.

A sentence that asks for a number which the run lacks is left out, and nothing else. A reference
to a chapter that the book does not have reads as plain text.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import PurePosixPath

from myst_parser.config.main import MdParserConfig
from myst_parser.mdit_to_docutils.base import DocutilsRenderer
from myst_parser.parsers.mdit import create_md_parser

Find = Callable[[str, str], str | None]
"""The text of a key of a notebook ("" is the page itself); None where the run lacks it."""

_GLUE = re.compile(r"(?<!`)\{glue:text\}`(?:([^`]+?)::)?([^`:]+)(?::[^`]*)?`")
_REFERENCE = re.compile(
    r"\{(?P<kind>doc|ref|numref)\}`(?:(?P<said>[^`<]*?)\s*<)?(?P<target>[^`<>]+)>?`"
    r"|(?<!!)\[(?P<text>[^\]]+)\]\((?P<link>[^)\s]+)\)"
)
# In these no sentence ends: roles, code, formulas.
_OPAQUE = re.compile(r"(?:\{[\w:]+\})?(`+).+?\1|\$[^$]+\$", re.S)
_END = re.compile(r"([.?!][\"'”)\]*_]*)\s+(?=[^a-z\s])")
_SHORT = re.compile(r"\b(?:e\.g|i\.e|cf|vs|al|ca|approx|[Ff]igs?|No|Dr|St)\.$")
_LEAD = re.compile(r"\*\*[^*]+\*\*\s*")
_TERM = re.compile(r"\{doc\}`[^`]+`")
_KINDS = ("amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath", "tasklist")


def asked(text: str) -> Iterator[tuple[str, str]]:
    """Every notebook ("" is the page's own) and key of which a page asks for the text."""
    return ((PurePosixPath(each[1] or "").stem, each[2]) for each in _GLUE.finditer(text))


def told(text: str, find: Find, absent: Mapping[str, str]) -> str:
    """Markdown without the sentences whose numbers a run lacks, and without dead references.

    An empty text that stands alone goes in the same way. So do paragraphs, list items and
    headings of which nothing is left, and entries of a definition list whose term is an absent
    chapter. What stays, stays byte for byte.

    Args:
        text: Markdown of a page or cell.
        find: Gives the texts of a run.
        absent: How absent chapters (NAME) and what is labelled there (#LABEL) read.
    """
    if (absent and _TERM.search(text)) or not all(find(*each) for each in asked(text)):
        text = "\n".join(_lines(text, find, absent))
    return _REFERENCE.sub(lambda each: _words(each, absent) or each[0], text)


def _words(match: re.Match, absent: Mapping[str, str]) -> str:
    """What stands in place of a reference; nothing where it leads somewhere."""
    target = match["target"] or re.sub(r"\.(ipynb|md)(#.*)?$", "", match["link"])
    name = target.rpartition("/")[2] if match["kind"] in ("doc", None) else f"#{target}"
    said = match["said"] or match["text"] or "%s"
    return absent.get(name, "") if "%s" in said or name not in absent else said


def _lines(text: str, find: Find, absent: Mapping[str, str]) -> Iterator[str]:
    edits = _edits(text, find, absent)
    after, last = False, ""
    for number, line in enumerate(text.split("\n")):
        line = edits.get(number, line)
        if line is not None and (line.strip() or last.strip() or not after):
            yield line
            last = line
        after = line is None


def _edits(text: str, find: Find, absent: Mapping[str, str]) -> dict[int, str | None]:
    """Numbers of lines, and what takes the place of each: None for nothing."""
    parser = create_md_parser(MdParserConfig(enable_extensions={*_KINDS}), DocutilsRenderer)
    tokens, lines, items, edits = parser.parse(text), text.split("\n"), [], {}
    for number, token in enumerate(tokens):
        if token.type == "list_item_open":
            items.append(token.map[1])
        elif token.type == "list_item_close":
            items.pop()
        before, (start, end) = tokens[number - 1].type, token.map or (0, 0)
        if token.type != "inline" or edits.get(start, "") is None:
            continue
        if before == "dt_open" and _TERM.fullmatch(token.content):
            if _words(_REFERENCE.match(token.content), absent):
                edits |= dict.fromkeys(range(start, tokens[number + 2].map[1]))
        elif before in ("paragraph_open", "heading_open"):
            block = "\n".join(lines[start:end])
            at = block.index(token.content.split("\n")[0])  # behind a marker
            rest = _cut(block[at:], find)
            if rest != block[at:]:
                below = items and any(map(str.strip, lines[end : items[-1]]))
                kept = f"{block[:at]}{rest}".rstrip(" ") if rest or below else None
                edits |= dict.fromkeys(range(start, end)) | {start: kept}
    heads = [each for each in tokens if each.type == "heading_open" and each.level == 0]
    for head, following in reversed([*pairwise(heads)]):
        below = range(head.map[1], following.map[0])
        left = [n for n in below if edits.get(n, lines[n]) and lines[n].strip()]
        if {*below} & {*edits} and not left and following.tag <= head.tag:
            edits |= dict.fromkeys(range(*head.map))
    return edits


def _cut(text: str, find: Find) -> str:
    """A paragraph without the sentences that ask for what is lacking; a lead-in is none."""
    pieces = [*sentences(text, find)]
    kept = [each for each in pieces if _has_words(each, find)]
    if len(kept) == len(pieces):
        return text
    kept = [] if all(map(_LEAD.fullmatch, kept)) else kept
    return "".join(kept) if pieces[-1] in kept[-1:] else "".join(kept).rstrip()


def _has_words(sentence: str, find: Find) -> bool:
    """Whether all is there that it asks for; texts that are empty are no sentence by themselves."""
    texts = [find(*key) for key in asked(sentence)]
    return None not in texts and (any(texts) or bool(_GLUE.sub("", sentence).strip()))


def sentences(text: str, find: Find) -> Iterator[str]:
    """The sentences of a paragraph, each with the space behind it.

    A glued text may be a sentence: one that ends as such, or that lacks and is named
    ``..._sentence``.
    """

    def masked(part: re.Match) -> str:
        said = "".join(
            "." * key.endswith("_sentence") if (text := find(name, key)) is None else text
            for name, key in asked(part[0])
        )
        return "X" * (len(part[0]) - 1) + ("." if said.endswith((".", "?", "!")) else "X")

    start, seen = 0, _OPAQUE.sub(masked, text)
    for end in _END.finditer(seen):
        sentence = seen[start : end.end(1)]
        within = sentence.count("(") > sentence.count(")") or sentence.count("**") % 2
        if not within and not _SHORT.search(sentence):
            yield text[start : end.end()]
            start = end.end()
    yield text[start:]
