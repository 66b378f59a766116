import numpy as np
import pytest

from fetalclip_nb.experiments.gestational_age.figures import age_heat_map, growth_chart
from fetalclip_nb.growth import head_circumference

AGES = np.array([120, 150, 200])
HC_MM = head_circumference(AGES)


pytestmark = pytest.mark.usefixtures("figure_style")


def test_heat_map_and_chart_show_their_numbers():
    similarity = np.random.default_rng(0).normal(size=(3, 175))
    shown = age_heat_map(similarity, HC_MM).axes[0].images[0].get_array()
    assert shown.shape == (3, 175) and shown.min() == 0 and shown.max() == 1
    chart = growth_chart({"m": AGES}, HC_MM).axes[0]
    assert chart.lines[-1].get_xdata() == pytest.approx(AGES / 7)
