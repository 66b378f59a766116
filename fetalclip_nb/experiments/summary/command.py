"""``fetalclip-nb compare``: two runs, or a run and the rows that come with the book."""

import argparse
from pathlib import Path

from fetalclip_nb.errors import ResultError, refuse
from fetalclip_nb.files import whole

_LEGEND = """Values in percent with 95 % intervals; B - A likewise.
paired: both answered for the same images. Patients (or examinations, where it says so) are drawn
for the interval and exchanged for p (AUROC: p by the normal law); training is left as it was.
p is corrected for all {tests} tests of the table (Holm).
not paired: the answers of one side are not here, or are for other images; nothing is tested."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fetalclip-nb compare``."""
    sides = "folder of results (build/NAME/results), file of rows, or 'reference'"
    parser.add_argument("a", metavar="A", help=sides)
    parser.add_argument("b", metavar="B", help="likewise")
    says = "model of A and model of B (default: every name that both have); may be repeated"
    parser.add_argument("--model", action="append", metavar="A_NAME=B_NAME", help=says)
    parser.add_argument("--csv", metavar="FILE", help="write all numbers to it")


def main(options: argparse.Namespace) -> int:
    """Print the differences, B minus A: one line a measure that both have."""
    from fetalclip_nb.experiments.summary import compare

    named = [text.partition("=")[::2] for text in options.model or ()]
    wrong = ["=".join(pair) for pair in named if not all(pair)]
    what, expected = "Two models are not named", "A_NAME=B_NAME"
    refuse(wrong, what, error=ResultError, where="--model", expected=expected)
    sides = [compare.open_side(name) for name in (options.a, options.b)]
    table = compare.compare(*sides, dict(named) or None)
    if options.csv:
        with whole(Path(options.csv)) as made:
            table.to_csv(made, index=False, lineterminator="\n")
    print(f"A: {options.a}\nB: {options.b}")
    print(compare.shown_table(table).to_string(index=False))
    print(_LEGEND.format(tests=table["p"].notna().sum()))
    return 0
