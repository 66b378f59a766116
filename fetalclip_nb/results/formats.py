"""Units, values, intervals and names as people read them."""

from fetalclip_nb.stats.scores import Score

UNITS = {
    **dict.fromkeys(("hd95", "hc_mae_mm", "hc_bias_mm", "hc_low_mm", "hc_high_mm"), "mm"),
    **dict.fromkeys(("age_error_days", "age_mae_days", "age_bias_days"), "days"),
    **dict.fromkeys(("age_low_days", "age_high_days"), "days"),
    **dict.fromkeys(("age_gap_days", "age_gap_chance_days"), "days"),
    **dict.fromkeys(("size_gap_px", "size_gap_chance_px"), "px"),
    **dict.fromkeys(("silhouette", "ari", "excess", "excess_within", "similarity"), ""),
}
"""Units of the metrics that are no fractions, by the part of a metric's name that says so.

Indices that may be negative have no unit: a percentage of them would mean nothing.
"""

_DECIMALS = {"days": 1, "px": 1, "mm": 2, "": 2}


def unit_of(metric: str) -> str:
    """The unit a metric is shown in: "days", "px" (pixels), "mm", "%" or "" for none.

    >>> unit_of("head/hd95/head"), unit_of("head/dsc"), unit_of("planes/ari")
    ('mm', '%', '')
    """
    return next((UNITS[part] for part in metric.split("/") if part in UNITS), "%")


def format_number(metric: str, value: float, decimals: int = 1) -> str:
    """A value in the unit of its metric, without the unit.

    Args:
        metric: Name of the score, after a task's name or not.
        value: As in the result file.
        decimals: Of a percentage; days and pixels have one, mm and plain numbers two.

    >>> format_number("vpr", 0.83421, 2), format_number("hc_bias_mm", -0.001)
    ('83.42', '0.00')
    """
    unit = unit_of(metric)
    decimals = _DECIMALS.get(unit, decimals)
    # Adding 0 turns what rounds to -0 into 0.
    return f"{round(100 * value if unit == '%' else value, decimals) + 0.0:.{decimals}f}"


def format_value(metric: str, value: float) -> str:
    """A value with its unit, if it has one.

    >>> format_value("vpr", 0.83421), format_value("age_error_days", 9.0)
    ('83.4 %', '9.0 days')
    >>> format_value("planes/silhouette", -0.083)
    '-0.08'
    """
    return f"{format_number(metric, value)} {unit_of(metric)}".rstrip()


def format_interval(metric: str, low: float, high: float) -> str:
    """An interval with its unit, if it has one.

    >>> format_interval("vpr", 0.8096, 0.8587)
    '81.0 to 85.9 %'
    """
    return f"{format_number(metric, low)} to {format_value(metric, high)}"


def percent_text(score: Score) -> str:
    """Value and interval in percent.

    >>> percent_text(Score(0.5, 0.25, 0.75, 0.5, 8, 4))
    '50.0 (25.0–75.0)'
    """
    return f"{100 * score.value:.1f} ({100 * score.low:.1f}–{100 * score.high:.1f})"


def readable(structure: str) -> str:
    """A structure's name as people read it.

    >>> readable("abdominal_circumference")
    'abdominal circumference'
    """
    return structure.replace("_", " ")
