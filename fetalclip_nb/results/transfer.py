"""Far from home: a chapter's saved answers for two cohorts, side by side."""

from pathlib import Path

import pandas as pd

from fetalclip_nb.data.african_planes import TASK
from fetalclip_nb.results.formats import format_difference, with_interval
from fetalclip_nb.results.result_files import Row, load_results
from fetalclip_nb.stats.transfer import Transfer, transfer

MEASURES = {"f1_macro": "macro F1", "accuracy_macro": "mean recall"}

Transfers = dict[str, dict[str, Transfer]]
"""A row's name to its scores at home and abroad, by measure."""


def compared(folder: Path, home: str, away: str = f"{TASK}/f1_macro") -> Transfers:
    """What each model and baseline of a chapter keeps of its score in another cohort.

    Args:
        folder: The chapter's results, with predictions/KEY.parquet.
        home: Score that is made of the answers at home ("six_planes/f1_macro").
        away: The same abroad.

    Returns:
        Rows that have both, in table order; over the classes that both cohorts have.
    """

    def said(row: Row, metric: str) -> pd.DataFrame:
        path = folder / "predictions" / f"{row.key}.parquet"
        return pd.read_parquet(path, filters=[("metric", "==", metric)])

    rows = load_results(folder).values()
    known = {(r.kind, r.model, r.reader): r for r in rows if home in r.scores}
    pairs = [(known.get((r.kind, r.model, r.reader)), r) for r in rows if away in r.scores]
    return {a.title: transfer(said(a, home), said(b, away)) for a, b in pairs if a}


def table(found: Transfers) -> pd.DataFrame:
    """Scores at home and abroad with their change, in percent and points: one row a measure."""
    rows = {
        (title, MEASURES[name]): {
            "at home (95 %)": with_interval(each.home),
            "patients at home": f"{each.home.groups:,}",
            "abroad (95 %)": with_interval(each.abroad),
            "patients abroad": f"{each.abroad.groups:,}",
            "abroad minus home (95 %)": format_difference(each.change),
        }
        for title, measures in found.items()
        for name, each in measures.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def facts(found: Transfers, model: str, images: str) -> dict[str, str]:
    """The headline in a sentence, and the same without any number where nothing was given.

    Args:
        found: As given by `compared`.
        model: Title of a row.
        images: What the images abroad are (`kind_of_images`).
    """
    if model not in found:
        return {"african_sentence": "No African planes were given: nothing was tested abroad."}
    home, abroad, change = found[model]["f1_macro"]
    text = (
        f"On {abroad.n:,} images in the layout of the African planes ({images}), {model} reached a "
        f"macro F1 of {with_interval(abroad, ' to ')} % over the planes that home has, too. On the "
        f"same planes at home it is {with_interval(home, ' to ')} %: abroad minus home is "
        f"{format_difference(change)} points, patients of both drawn."
    )
    return {"african_sentence": text}
