import numpy as np
import pytest

from fetalclip_nb.stats import calibration


def claims(*probabilities):
    """Logits of two classes that claim class 0 with these probabilities, shape (N, 2)."""
    p = np.array(probabilities)
    return np.log(np.stack([p, 1 - p], axis=-1))


def test_reliability_by_hand():
    # Claimed 0.95 twice (one right), 0.65 once (right); the claim 0.3 is one of 0.7 for class 1.
    logits = claims(0.95, 0.95, 0.65, 0.3)[None]
    table = calibration.reliability(logits, np.array([0, 1, 0, 0]))
    assert len(table) == 15
    assert table["low"].tolist() == pytest.approx((np.arange(15) / 15).tolist())
    filled = table[table["share"] > 0].reset_index(drop=True)
    assert filled["high"].tolist() == pytest.approx([10 / 15, 11 / 15, 1])
    assert filled["confidence"].tolist() == pytest.approx([0.65, 0.7, 0.95])
    assert filled["accuracy"].tolist() == [1.0, 0.0, 0.5]
    assert filled["share"].tolist() == [0.25, 0.25, 0.5]
    assert table.loc[table["share"] == 0, ["confidence", "accuracy"]].isna().all(axis=None)


def test_expected_error_by_hand():
    gaps = np.zeros((2, 15))
    gaps[0, [3, 7]] = [1.0, -2.0]
    assert calibration.expected_error(gaps, np.array([10, 10])).tolist() == [0.3, 0.0]


def test_heads_are_pooled():
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.normal(size=(4, 50, 3)), rng.integers(0, 3, 50)
    pooled = calibration.reliability(logits, labels)
    once = calibration.reliability(logits.reshape(1, 200, 3), np.tile(labels, 4))
    assert pooled.equals(once)
    assert pooled["share"].sum() == pytest.approx(1)


def test_steep_logits_claim_certainty_and_stay_in_the_last_bin():
    predicted, confidence = calibration.first_choice(np.array([[0, 900.0]], dtype=np.float32))
    assert (predicted.tolist(), confidence.tolist()) == ([1], [1.0])
    assert calibration.bin_of(confidence).tolist() == [14]
