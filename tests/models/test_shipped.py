import json

import pytest

from fetalclip_nb.errors import ResultError
from fetalclip_nb.models.shipped import shipped_scores


def test_real_heads_stand_beside_their_controls():
    found = shipped_scores("real_hc18")
    controls = {"shuffled images", "mean embedding", "black image", "constant age", "spacing only"}
    assert controls | {"phantomclip", "phantomclip, unseen sentences"} == set(found)
    assert len({scores["vpr"].n for scores in found.values()}) == 1


def test_missing_section(tmp_path):
    (tmp_path / "scores.json").write_text(json.dumps({"age": {}}))
    with pytest.raises(ResultError, match="not scored on this.*real_hc18.*age"):
        shipped_scores("real_hc18", tmp_path / "scores.json")
