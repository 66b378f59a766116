"""Scores that were measured when the phantom CLIP was made, from the file beside its weights."""

import json
from pathlib import Path

from fetalclip_nb.errors import ResultError
from fetalclip_nb.paths import SHIPPED
from fetalclip_nb.stats.scores import Score

SCORES = SHIPPED / "scores.json"

_NAMES = {"templates": "phantomclip", "unseen": "phantomclip, unseen sentences"}


def shipped_scores(section: str, path: Path = SCORES) -> dict[str, dict[str, Score]]:
    """Gestational-age scores of the shipped model and its controls.

    Args:
        section: "real_hc18" for real heads.
        path: The scores file.

    Returns:
        Predictor to metric to score (patients resampled).
    """
    content = json.loads(path.read_text("utf-8"))
    if section not in content:
        found = ", ".join(content)
        raise ResultError("Shipped model was not scored on this", expected=section, found=found)
    return {
        _NAMES.get(name, name): {metric: Score(**values) for metric, values in found.items()}
        for name, found in content[section].items()
    }
