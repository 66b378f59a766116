import numpy as np
import pytest

from fetalclip_nb import growth


def test_median_at_20_weeks_by_hand():
    exponent = 2.09924879247164 + 20 * 0.253373656106037
    exponent += 400 * -0.00605647816678282 + 8000 * 5.14256072059917e-5
    assert growth.head_circumference(140) == pytest.approx(np.exp(exponent), rel=1e-12)


def test_centiles_are_ordered_and_the_median_grows():
    low, mid, high = (growth.head_circumference(growth.AGES_DAYS, c) for c in (2.5, 50.0, 97.5))
    assert (low < mid).all() and (mid < high).all() and (np.diff(mid) > 0).all()


def test_gestational_age_inverts_the_median_and_clips_outside():
    ages = growth.AGES_DAYS[::13]
    inverted = growth.gestational_age(growth.head_circumference(ages))
    assert inverted == pytest.approx(ages, abs=0.1)
    assert growth.gestational_age([10.0, 900.0]).tolist() == [98, 272]
