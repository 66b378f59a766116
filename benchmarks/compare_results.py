"""Compare the scores of two result folders: is a change of the code one of the numbers?

    python benchmarks/compare_results.py OLD/results NEW/results

Rows are matched by notebook and title, so that files of the old form, which name a row by its
title alone, can stand on either side. The exit status is 1 where a score is absent on one side
or differs by more than the tolerance.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.results.result_files import Row

SCORE = ["notebook", "row", "metric", "resampled"]
"""What a score is named by."""

NUMBERS = ["value", "low", "high", "mean", "n", "groups"]

DECODERS = "04_segmentation"

FEW_DATA = ("05_few_data", " (heads)")
"""Rows of this chapter with this ending come from decoders, too."""


def main() -> int:
    """Print what differs most; return 1 if anything differs too much."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="folder with one result folder a notebook")
    parser.add_argument("new", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-6)
    parser.add_argument(
        "--decoders",
        type=float,
        help="tolerance of decoders' scores, which differ with the number of threads: 0.005 is "
        "half a percentage point, and half a mm or day",
    )
    parser.add_argument("--notebooks", nargs="*", help="only these")
    options = parser.parse_args()
    old, new = (read_scores(folder, options.notebooks) for folder in (options.old, options.new))
    decoders = options.tolerance if options.decoders is None else options.decoders
    table = compare(old, new, options.tolerance, decoders)
    absent, wrong = table[table["difference"].isna()], table[table["difference"] > table["allowed"]]
    print(f"{len(old):,} scores before, {len(new):,} now; {len(wrong):,} differ too much")
    for title, rows in {"On one side only": absent, "Too different": wrong}.items():
        if len(rows):
            print(f"\n{title} ({len(rows):,}):", rows.head(10).to_string(), sep="\n")
    print("\nLargest differences:", table.head(10).to_string(), sep="\n")
    return int(len(absent) + len(wrong) > 0)


def read_scores(folder: Path, notebooks: list[str] | None = None) -> pd.DataFrame:
    """Every score in a folder's result files: `NUMBERS` and unit, indexed by `SCORE`."""
    if not folder.is_dir():
        sys.exit(f"no folder {folder}")
    rows = []
    for path in sorted(folder.glob("*/*.json")):
        content = json.loads(path.read_text("utf-8"))
        if "scores" not in content or (notebooks and path.parent.name not in notebooks):
            continue
        parts = {name: content.get(name, "") for name in ("subject", "reader")}
        title = Row(content["model"], {}, **parts).title
        for metric, scores in content["scores"].items():
            for resampled, score in scores.items():
                names = dict(zip(SCORE, (path.parent.name, title, metric, resampled), strict=True))
                rows.append(names | {"unit": ""} | score)
    return pd.DataFrame(rows, columns=[*SCORE, *NUMBERS, "unit"]).set_index(SCORE)


def compare(
    old: pd.DataFrame, new: pd.DataFrame, tolerance: float, decoders: float
) -> pd.DataFrame:
    """Largest difference of each score's numbers, and what it may be; the largest first.

    Returns:
        difference (NaN where a side lacks the score), allowed, and each side's value, indexed
        by `SCORE`.
    """
    names = old.index.union(new.index)
    before, now = (side.reindex(names)[NUMBERS] for side in (old, new))
    same = before.isna() & now.isna()
    difference = (now - before).abs().where(~same, 0).max(axis=1, skipna=False)
    difference[~(names.isin(old.index) & names.isin(new.index))] = np.nan
    notebook, row = (names.get_level_values(level) for level in ("notebook", "row"))
    trained = (notebook == DECODERS) | ((notebook == FEW_DATA[0]) & row.str.endswith(FEW_DATA[1]))
    measured = new["unit"].reindex(names).isin(["mm", "days", "px"])
    allowed = np.where(trained, decoders * np.where(measured, 100, 1), tolerance)
    table = pd.DataFrame(
        {"difference": difference, "allowed": allowed, "old": before["value"], "new": now["value"]}
    )
    return table.sort_values("difference", ascending=False, kind="stable")


if __name__ == "__main__":
    sys.exit(main())
