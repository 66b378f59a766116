"""The shipped card is the one that the shipped scores give."""

import json
from copy import deepcopy

from fetalclip_nb.experiments.pretraining.card import model_card
from fetalclip_nb.paths import SHIPPED


def test_card_is_written_from_the_scores():
    scores = json.loads((SHIPPED / "scores.json").read_text("utf-8"))
    card = (SHIPPED / "README.md").read_text("utf-8")
    assert model_card(scores) == card
    changed = deepcopy(scores)
    vpr = changed["age"]["templates"]["vpr"]
    value, low = (f"{100 * vpr[key]:.1f}" for key in ("value", "low"))
    vpr["value"] = 0.1234
    written = card.replace(f"{value} ({low}", f"12.3 ({low}")
    assert card != written == model_card(changed)
    del changed["real_hc18"]
    assert "HC18 heads" not in model_card(changed)
