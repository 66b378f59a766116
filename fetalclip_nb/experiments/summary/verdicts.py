"""What may be said of a score beside a published one, and why."""

from fetalclip_nb.results.formats import format_number
from fetalclip_nb.results.published import Published
from fetalclip_nb.results.result_files import Row
from fetalclip_nb.stats.differences import Difference
from fetalclip_nb.stats.scores import Score

MEANINGS = {
    "reproduced": "the published score lies in the 95 % interval of ours; "
    "of released outputs: it is the same to two decimals",
    "differs": "it does not",
    "stand-in": "other images, sentences or settings stand in for the paper's",
    "unpublished": "no score of these weights has been published",
    "phantoms": "synthetic images, never compared with the paper",
    "private": "nobody but the authors has the images",
    "not run": "nothing was measured",
}
"""Verdict to what it means."""

_AGREES = {True: "reproduced", False: "differs"}


def judge(
    row: Row, score: Score, known: Published | None, unlike: str, *, private: bool
) -> tuple[str, str]:
    """Verdict on a measured score, and its reason.

    Args:
        row: The result file.
        score: Its score, as a fraction.
        known: The published score of the same weights, if there is one.
        unlike: How the chapter's settings differ from the paper's; released outputs have none.
        private: Whether the paper's images are nobody's but the authors'.

    >>> score = Score(0.83, 0.80, 0.86, 0.83, 814, 700)
    >>> judge(Row("m", {}, synthetic=True), score, None, "", private=False)[0]
    'phantoms'
    """
    if row.synthetic:
        return "phantoms", "synthetic images"
    if known is None:
        return "unpublished", "no published score of these weights"
    if private:
        return "stand-in", f"other images ({row.provenance.get('dataset', 'own')})"
    if known.n and score.n != known.n:
        return "stand-in", f"{score.n:,} images in place of {known.n:,}"
    if unlike and row.kind != "released":
        return "stand-in", unlike
    errata = f"; errata {', '.join(map(str, known.errata))}" * bool(known.errata)
    if row.kind == "released":
        # Nothing is drawn here: the same answers must give the same two decimals.
        same = abs(score.value - known.value) < 5.1e-5
        return _AGREES[same], "the authors' answers, scored again" + errata
    inside = score.low <= known.value <= score.high
    return _AGREES[inside], _shown(score, known) + errata


def _shown(score: Score, known: Published) -> str:
    """How small a gap to a published score a test set like this could show."""
    # The interval reaches 1.96 standard errors to either side.
    error = (score.high - score.low) / 3.92
    gap = Difference(
        score.value - known.value, score.low, score.high, 0, error, score.groups, score.groups
    ).smallest()
    return f"could show {format_number(gap, decimals=2)} points" if gap == gap else "too few"
