"""Scores of clusters as tables and sentences of the book."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import kind_of_images, unprompted_sentence
from fetalclip_nb.experiments.embeddings.collection import Collection
from fetalclip_nb.models.names import UNTRAINED
from fetalclip_nb.results.formats import (
    format_interval,
    format_number,
    format_range,
    format_value,
    readable,
    with_interval,
)
from fetalclip_nb.results.tables import plain_table
from fetalclip_nb.stats.scores import Score
from fetalclip_nb.tasks.classes import own_facts

COLUMNS = {
    "purity": "purity (%)",
    "purity_chance": "by chance (%)",
    "excess": "excess",
    "purity_within": "purity, same plane (%)",
    "purity_within_chance": "by chance, same plane (%)",
    "excess_within": "excess, same plane",
    "excess_within/permuted": "excess, permuted",
    "silhouette": "silhouette",
    "ari": "adjusted Rand index",
    "ari/starts": "the same, other starts",
}
"""Scores of `clusters.cluster_scores` and the columns that show them."""

MEASURED = ("purity", "purity_chance", "silhouette", "ari", "ari/starts")
"""How well images of one label lie together."""

WITHIN = ("purity_within", "purity_within_chance", "excess_within", "excess_within/permuted")
"""What a label that is no anatomy can be told by among images of one plane."""

GAP_COLUMNS = {
    "age_gap_days": "age, nearest (days)",
    "age_gap_chance_days": "age, by chance (days)",
    "size_gap_px": "size, nearest (px)",
    "size_gap_chance_px": "size, by chance (px)",
}
"""Differences between heads, as the chapter saves them, and the columns that show them."""

PHANTOMS = (
    "The machines of phantoms differ in tone and sharpness, their operators in nothing but the "
    "name: with phantoms, chance is the only right answer for operators. That machines are or are "
    "not told apart here says nothing about real ones; run the page on real images for that."
)
"""What machines and operators of phantoms can show."""


def cluster_table(
    scores: Mapping[str, Mapping[str, Score]], labellings: Sequence[str], names: Sequence[str]
) -> pd.DataFrame:
    """Values with intervals as texts, and the number of images: one row a labelling and model.

    Args:
        scores: Model to scores named LABELLING/SCORE.
        labellings: What the images were labelled by ("planes", "machine"), one block each.
        names: Scores to show, of `COLUMNS`; chance levels are shown without interval, and what
            comes of permutations or of other starts as its 95 % range only.
    """
    rows = {
        (labelling, model): _texts(of_model, labelling, names)
        for labelling in labellings
        for model, of_model in scores.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").fillna("–")


def others_sentence(scores: Mapping[str, Mapping[str, Score]], labelling: str) -> str:
    """Purity, silhouette and adjusted Rand index of all models but the first, in words."""
    parts = []
    for model, of_model in list(scores.items())[1:]:
        purity, silhouette, ari = (
            format_value(of_model[f"{labelling}/{name}"])
            for name in ("purity", "silhouette", "ari")
        )
        parts.append(
            f"{model} reaches a purity of {purity}, a silhouette of {silhouette} and an adjusted "
            f"Rand index of {ari}"
        )
    return f"For comparison, {'; '.join(parts)}." if parts else "No other model was run."


def untrained_sentence(models: Sequence[str]) -> str:
    """What the scores of untrained twins mean, for those among the models; else nothing.

    >>> untrained_sentence(["phantomclip", "clip"])
    ''
    """
    twins = [name for name in models if name.endswith(UNTRAINED)]
    if not twins:
        return ""
    have = "has the shape of its trained twin" if len(twins) == 1 else "have their twins' shapes"
    return (
        f"{' and '.join(twins)} {have} and random weights: what is reached so above chance comes "
        "from brightness and layout of the pictures, not from learning."
    )


def separation_sentence(scores: Mapping[str, Score], name: str, main: str = "planes") -> str:
    """Whether neighbours share the plane more than, say, the machine, in words.

    Intervals decide between plane and machine. Whether the machine is told at all is decided
    by the machines permuted among patients: intervals are too narrow for what patients carry.

    Args:
        scores: Scores of one model named LABELLING/SCORE: planes/excess, the excess of the
            other labelling within planes, and its permutations.
        name: The other labelling, which is no anatomy ("machine").
        main: The labelling by anatomy, or by own classes.

    >>> values = {"planes/excess": 0.8, "machine/purity": 0.5, "machine/excess_within": 0.05}
    >>> values["machine/excess_within/permuted"] = 0.0
    >>> scores = {key: Score(v, v - 0.1, v + 0.1, v, 9, 9, "") for key, v in values.items()}
    >>> separation_sentence(scores, "machine").split(":")[0]
    'Anatomy is separated more than the machine'
    >>> separation_sentence(scores, "operator")
    'All images have the same operator.'
    """
    verdict = _verdict(scores, name, main)
    said = verdict.format(name).capitalize()
    if verdict == _SAME:
        return f"{said}."
    if f"{name}/excess_within" not in scores:
        return f"{said}: no class has images of more than one {name} and of more than one patient."
    keys = (f"{main}/excess", f"{name}/excess_within", f"{name}/excess_within/permuted")
    anatomy, other, permuted = (scores[key] for key in keys)
    return (
        f"{said}: the excess over chance is {_with_interval(anatomy)} "
        f"for {readable(main)} and, among images of one of them, {_with_interval(other)} for the "
        f"{name}, {'' if _told(other, permuted) else 'not shown to be '}more than by chance (where "
        f"patients exchange their {name}, 95 % of the excesses are {format_interval(permuted)})."
    )


def separation_summary(
    scores: Mapping[str, Score], names: Sequence[str], main: str = "planes"
) -> str:
    """The verdicts of `separation_sentence` for several labellings, in one sentence.

    >>> separation_summary({"planes/excess": Score(0.8, 0.7, 0.9, 0.8, 9, 9)}, ["operator"])
    'All images have the same operator.'
    """
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_verdict(scores, name, main), []).append(name)
    parts = [
        verdict.format((" and the same " if verdict == _SAME else " and the ").join(of))
        for verdict, of in alike.items()
    ]
    return f"{'; '.join(parts).capitalize()}."


_SAME = "all images have the same {}"
_MORE, _LESS = (f"anatomy is separated {word} than the {{}}" for word in ("more", "less"))
_OPEN = "whether anatomy or the {} is separated more cannot be told"


def _verdict(scores: Mapping[str, Score], name: str, main: str) -> str:
    if f"{name}/purity" not in scores:
        return _SAME
    anatomy, other = scores[f"{main}/excess"], scores.get(f"{name}/excess_within")
    if other is None:
        return _OPEN
    if anatomy.low > other.high:
        return _MORE
    told = _told(other, scores[f"{name}/excess_within/permuted"])
    return _LESS if told and other.low > anatomy.high else _OPEN


def _told(other: Score, permuted: Score) -> bool:
    return other.value > permuted.high


def gap_sentence(scores: Mapping[str, Score], name: str, images: str) -> str:
    """How near a model's nearest heads are in age, and in size in the picture, in words."""
    age, any_age, size, any_size = (format_value(scores[gap]) for gap in GAP_COLUMNS)
    return (
        f"For {name}, a head differs from the nearest heads of other patients in age by {age} "
        f"({format_interval(scores['age_gap_days'])}; any other patient's head by {any_age}) and "
        f"in size in the picture by {size} ({format_interval(scores['size_gap_px'])}; any other "
        f"patient's head by {any_size}). The heads are {images}."
    )


def _texts(scores: Mapping[str, Score], labelling: str, names: Sequence[str]) -> dict[str, str]:
    known = {name: scores[key] for name in names if (key := f"{labelling}/{name}") in scores}
    texts = {"n": f"{max(score.n for score in known.values()):,}"} if known else {}
    for name, score in known.items():
        text = with_interval(score, " to ")
        if name.endswith(("/permuted", "/starts")):
            text = format_range(score, " to ")
        if name.endswith("_chance"):
            text = format_number(score.value, score.unit)
        texts[COLUMNS[name]] = text
    return texts


def _with_interval(score: Score) -> str:
    return f"{format_value(score)} ({format_interval(score)})"


def by_machine(planes: pd.DataFrame) -> pd.DataFrame:
    """Images of each class by machine, where machines are named, with sums."""
    machine = planes["machine"] if "machine" in planes else np.full(len(planes), "not named")
    return pd.crosstab(
        planes["label"], machine, colnames=["machine"], margins=True, margins_name="all"
    )


def gap_table(heads: Mapping[str, Mapping[str, Score]]) -> pd.DataFrame:
    """Differences between nearest heads as texts, one row a model."""
    return plain_table(heads, list(GAP_COLUMNS)).rename(columns=GAP_COLUMNS)


def file_sizes(folder: Path) -> pd.DataFrame:
    """The exported files of a folder, in MB."""
    files = sorted(folder.glob("embeddings-*"))
    sizes = {path.name: f"{path.stat().st_size / 1e6:.1f}" for path in files}
    return pd.DataFrame({"size (MB)": sizes})


def answer_titles(answers: pd.DataFrame) -> list[str]:
    """Label (the sub-plane where there is one) and cosine of each found image."""
    rows = answers.itertuples()
    return [f"{row.label.split(', ')[-1]}\n{row.similarity:.2f}" for row in rows]


def stray_images(
    strays: pd.DataFrame, paths: Sequence[Path], most: int
) -> tuple[list[Path], list[str]]:
    """Files and titles of images among those of another plane, then of their nearest images.

    Args:
        strays: As given by `clusters.strays`; "other" is left out.
        paths: Files of all images.
        most: How many strays.
    """
    rows = strays[strays["label"] != "other"].head(most)
    titles = [f"{row.label}\n{row.silhouette:.2f}" for row in rows.itertuples()]
    titles += [f"nearest:\n{name}" for name in rows["nearest_label"]]
    return [paths[i] for i in (*rows["row"], *rows["nearest"])], titles


def atlas_points(
    planes: pd.DataFrame, points: np.ndarray, predictions: pd.DataFrame
) -> pd.DataFrame:
    """What the atlas shows of each image: its place (N, 2), zero-shot answer, label and machine."""
    table = pd.DataFrame(points, columns=["x", "y"]).join(predictions)
    return table.join(_known(planes, "id", "label").reset_index(drop=True))


def _known(planes: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Some columns, and machine and operator, empty where the data set does not name them."""
    return planes.reindex(columns=[*columns, "machine", "operator"], fill_value="")


def map_table(
    planes: pd.DataFrame, umap: np.ndarray, pca: np.ndarray, answers: Sequence
) -> pd.DataFrame:
    """One row an image: what is known, its places on both maps, the zero-shot answer."""
    known = _known(planes, "id", "label", "patient")
    places = dict(zip(("umap_x", "umap_y", "pca_x", "pca_y"), (*umap.T, *pca.T), strict=True))
    return known.assign(**places, prediction=list(answers))


def facts(
    collection: Collection,
    scores: Mapping[str, Mapping[str, Score]],
    heads: Mapping[str, Mapping[str, Score]],
    maps: Mapping[str, Mapping[str, Score]],
    *,
    k: int,
    distance: str,
    classes: Sequence[str],
) -> dict[str, object]:
    """What the chapter's prose says.

    Args:
        collection: Images.
        scores: As given by `label_scores`.
        heads: As given by `head_scores`.
        maps: As given by `map_scores`, the vectors first.
        k: Neighbours that purity looks at.
        distance: Distance of the vectors.
        classes: Classes that have sentences.
    """
    model, own = next(iter(scores.items()))
    main, fine = collection.main, collection.finest
    others = others_sentence(scores, main)
    note = PHANTOMS if collection.whole.synthetic else ""
    apart = separation_summary(own, ["machine", "operator"], main)
    near = "No heads were given."
    if heads:
        near = gap_sentence(heads[model], model, kind_of_images(collection.heads))
    return {
        "k": k,
        "distance": distance,
        "dimensions": int(next(iter(maps)).split()[0]),
        "images": len(collection.whole),
        "images_are": kind_of_images(collection.whole),
        "patients": collection.whole.table["patient"].nunique(),
        "machines_sentence": separation_sentence(own, "machine", main),
        "operators_sentence": separation_sentence(own, "operator", main),
        "beside_sentence": f"{apart} {note}".strip(),
        "unprompted_sentence": unprompted_sentence(collection.planes, classes)
        if classes
        else "No sentences were asked in this run.",
        "others_sentence": others,
        "others_explained": f"{others} {untrained_sentence(list(scores)[1:])}".strip(),
        "others_fine": others_sentence(scores, fine),
        "heads_sentence": near,
        **own_facts(collection.images),
        "map_silhouette": f"{maps['UMAP'][f'{main}/silhouette'].value:.2f}",
    }
