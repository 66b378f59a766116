import numpy as np
import pytest

from fetalclip_nb.experiments.gestational_age.figures import age_heat_map, growth_chart, strata_bars
from fetalclip_nb.experiments.gestational_age.tables import strata_table
from fetalclip_nb.growth import head_circumference

AGES = np.array([120, 150, 200])
HC_MM = head_circumference(AGES)


pytestmark = pytest.mark.usefixtures("figure_style")


def test_bars_show_every_predictor_by_stratum():
    table = strata_table({"m": AGES, "constant": np.full(3, 141)}, HC_MM)
    rates, axis = 100 * table[["m", "constant"]].fillna(0), strata_bars(table).axes[0]
    heights = [patch.get_height() for patch in axis.patches]
    assert heights == pytest.approx([*rates["m"], *rates["constant"]])
    sizes = [text.get_text() for text in axis.get_xticklabels()]
    assert sizes[0] == "100-150 mm\nn = 1" and len(sizes) == 4
    many = strata_table({f"m{i}": AGES for i in range(25)}, HC_MM)
    assert len(strata_bars(many).axes[0].containers) == 25


def test_heat_map_and_chart_show_their_numbers():
    similarity = np.random.default_rng(0).normal(size=(3, 175))
    shown = age_heat_map(similarity, HC_MM).axes[0].images[0].get_array()
    assert shown.shape == (3, 175) and shown.min() == 0 and shown.max() == 1
    chart = growth_chart({"m": AGES}, HC_MM).axes[0]
    assert chart.lines[-1].get_xdata() == pytest.approx(AGES / 7)
