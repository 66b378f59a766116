"""Tables and facts of chapter 2."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import kind_of_images
from fetalclip_nb.experiments.gestational_age.ages import Heads
from fetalclip_nb.experiments.gestational_age.answers import Answers
from fetalclip_nb.growth import head_circumference
from fetalclip_nb.results.formats import with_interval
from fetalclip_nb.results.result_files import Row
from fetalclip_nb.results.tables import comparison_table, of_kind, units_of
from fetalclip_nb.stats.scores import Score


def counts(heads: Heads) -> pd.DataFrame:
    """Images and patients (examinations), read and counted."""
    tables = {"read": heads.whole.table, "counted (100 to 342 mm)": heads.table}
    rows = {name: (len(table), table["patient"].nunique()) for name, table in tables.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["images", heads.whole.units])


def by_circumference(heads: Heads, most: int) -> tuple[list[Path], list[str]]:
    """Files and titles of heads from the smallest to the largest, evenly spaced in rank."""
    picked = np.linspace(0, len(heads) - 1, most).astype(int)
    rows = heads.table.sort_values("hc_mm").iloc[picked]
    titles = [f"{row.hc_mm:.0f} mm\n{row.pixel_mm:.3f} mm/px" for row in rows.itertuples()]
    return [heads.dataset.root / path for path in rows["path"]], titles


def worst_heads(age_days: np.ndarray, heads: Heads, most: int) -> tuple[list[Path], list[str]]:
    """Files and titles of the heads with the largest relative error of the circumference.

    Titles have the true circumference and the median one at the predicted age in days.
    """
    rows = heads.table.assign(implied_mm=head_circumference(age_days))
    error = (np.log(rows["implied_mm"]) - np.log(rows["hc_mm"])).abs()
    rows = rows.loc[error.sort_values(ascending=False).index[:most]]
    titles = [f"{row.hc_mm:.0f} mm\nas {row.implied_mm:.0f} mm" for row in rows.itertuples()]
    return [heads.dataset.root / path for path in rows["path"]], titles


def error_table(saved: Mapping[str, dict]) -> pd.DataFrame:
    """Median errors in days and of the circumference, with intervals."""
    metrics = {"age error (days)": "age_error_days", "circumference error (%)": "hc_error"}
    columns = ["ours", f"95 %, {units_of(saved)}"]
    tables = {name: comparison_table(saved, of)[columns] for name, of in metrics.items()}
    return pd.concat(tables, axis=1)


def averaged(saved: Mapping[str, Row]) -> dict[str, Row]:
    """The headline, and the same model asked with other sets of sentences."""
    first = next(iter(saved))
    others = of_kind(saved, "sentence").items()
    own = "frames, averaged"  # the headline itself
    return {first: saved[first]} | {t: r for t, r in others if "averaged" in t and t != own}


def by_stratum(results: Mapping[str, Row]) -> dict[str, dict[str, Score]]:
    """VPR of each row by stratum of the true circumference; those of few patients are absent."""
    return {
        title: {
            f"{metric.removeprefix('vpr/')} mm": row.score(metric)
            for metric in row.scores
            if metric.startswith("vpr/")
        }
        for title, row in results.items()
    }


def strata_table(by_size: Mapping[str, Mapping[str, Score]], units: str) -> pd.DataFrame:
    """VPR in percent with intervals: one row a stratum, one column a predictor (`by_stratum`).

    The intervals draw the units (`Dataset.units`).
    """
    table = pd.DataFrame({name: pd.Series(found) for name, found in by_size.items()})
    counts = table.iloc[:, 0].map(lambda score: f"{score.n:,} ({score.groups:,})")
    texts = table.map(with_interval, na_action="ignore").fillna("–")
    texts.insert(0, f"images ({units})", counts)
    return texts


def shipped_strata(shipped: Mapping[str, Mapping[str, Score]]) -> pd.DataFrame:
    """VPR of the shipped model and its controls by circumference, one row a predictor."""
    rows = {
        name: Row(name, {m: {"patient": s} for m, s in found.items()})
        for name, found in shipped.items()
    }
    return strata_table(by_stratum(rows), "examinations").T


def facts(
    answers: Answers, heads: Heads, shipped: Mapping[str, Mapping[str, Score]]
) -> dict[str, object]:
    """What the chapter's prose says of data and baselines."""
    weeks, days = divmod(answers.baselines["constant age"][0], 7)
    return {
        "images_are": kind_of_images(heads.whole),
        "images": len(heads.whole),
        "counted": len(heads),
        "patients": heads.table["patient"].nunique(),
        "units": heads.whole.units,
        "constant_age": f"{weeks} weeks and {days} days",
        "spacings": len(set(heads.spacings)),
        "shipped_heads": next(iter(shipped.values()))["vpr"].n,
    }
