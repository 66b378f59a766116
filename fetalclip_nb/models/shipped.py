"""Scores that were measured when the phantom CLIP was made, from the file beside its weights."""

import json

from fetalclip_nb.paths import SHIPPED
from fetalclip_nb.stats.scores import Score

_NAMES = {"templates": "phantomclip", "unseen": "phantomclip, unseen sentences"}


def shipped_scores(section: str) -> dict[str, dict[str, Score]]:
    """Gestational-age scores of the shipped model and its controls.

    Args:
        section: "real_hc18" for real heads.

    Returns:
        Predictor to metric to score (patients resampled).
    """
    content = json.loads((SHIPPED / "scores.json").read_text("utf-8"))
    return {
        _NAMES.get(name, name): {metric: Score(**values) for metric, values in found.items()}
        for name, found in content[section].items()
    }
