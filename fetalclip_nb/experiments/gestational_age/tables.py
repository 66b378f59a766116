"""Tables and facts of chapter 2."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import kind_of_images
from fetalclip_nb.experiments.gestational_age.ages import Heads, is_valid, strata
from fetalclip_nb.experiments.gestational_age.answers import Answers
from fetalclip_nb.growth import STRATA_MM, head_circumference
from fetalclip_nb.results.tables import comparison_table, percent
from fetalclip_nb.stats.scores import Score


def counts(heads: Heads) -> pd.DataFrame:
    """Images and patients, read and counted."""
    tables = {"read": heads.whole.table, "counted (100 to 342 mm)": heads.table}
    rows = {name: (len(table), table["patient"].nunique()) for name, table in tables.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["images", "patients"])


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
    """Median errors in days and of the circumference, with intervals over patients."""
    metrics = {"age error (days)": "age_error_days", "circumference error (%)": "hc_error"}
    columns = ["ours", "95 %, patients"]
    tables = {name: comparison_table(saved, of)[columns] for name, of in metrics.items()}
    return pd.concat(tables, axis=1)


def strata_table(predictors: dict[str, np.ndarray], hc_mm: np.ndarray) -> pd.DataFrame:
    """VPR by stratum: one row a stratum, one column a predictor (of ages in days)."""
    valid = pd.DataFrame({name: is_valid(ages, hc_mm) for name, ages in predictors.items()})
    rows = [
        {"stratum": f"{size} mm", "n": inside.sum(), **valid[inside].mean()}
        for size, inside in strata(hc_mm).items()
    ]
    return pd.DataFrame(rows)


def shipped_strata(shipped: Mapping[str, Mapping[str, Score]]) -> pd.DataFrame:
    """VPR of the shipped model and its controls by circumference, in percent."""
    sizes = [f"{low:.0f}-{high:.0f}" for low, high in STRATA_MM]
    table = pd.DataFrame(
        {size: {name: s[f"vpr/{size}"].value for name, s in shipped.items()} for size in sizes}
    )
    return percent(table, sizes)


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
        "constant_age": f"{weeks} weeks and {days} days",
        "spacings": len(set(heads.spacings)),
        "shipped_heads": next(iter(shipped.values()))["vpr"].n,
    }
