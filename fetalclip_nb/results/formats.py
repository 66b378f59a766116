"""Values, intervals and names as people read them."""

from fetalclip_nb.stats.differences import Difference
from fetalclip_nb.stats.scores import Score

_DECIMALS = {"days": 1, "px": 1, "mm": 2, "": 2}


class Sentence(str):
    """A text that a notebook shows as a paragraph, which breaks its lines as the page is wide."""

    def _repr_markdown_(self) -> str:
        return str(self)


def format_number(value: float, unit: str = "%", decimals: int = 1) -> str:
    """A value in its unit, without the unit.

    Args:
        value: As in the result file: a fraction where the unit is "%".
        unit: As a `Score` has it.
        decimals: Of a percentage; days and pixels have one, mm and plain numbers two.

    >>> format_number(0.83421, decimals=2), format_number(-0.001, "mm")
    ('83.42', '0.00')
    """
    decimals = _DECIMALS.get(unit, decimals)
    # Adding 0 turns what rounds to -0 into 0.
    return f"{round(100 * value if unit == '%' else value, decimals) + 0.0:.{decimals}f}"


def format_value(score: Score) -> str:
    """A value with its unit, if it has one.

    >>> format_value(Score(0.83421, 0.8096, 0.8587, 0.834, 814, 814))
    '83.4 %'
    """
    return f"{format_number(score.value, score.unit)} {score.unit}".rstrip()


def format_interval(score: Score) -> str:
    """An interval with its unit, if it has one.

    >>> format_interval(Score(9, 8, 10.5, 9, 814, 814, unit="days"))
    '8.0 to 10.5 days'
    """
    return f"{format_range(score, ' to ')} {score.unit}".rstrip()


def format_range(score: Score, between: str = "–", decimals: int = 1) -> str:
    """An interval without its unit.

    >>> format_range(Score(0.83421, 0.8096, 0.8587, 0.834, 814, 814))
    '81.0–85.9'
    """
    low, high = (format_number(end, score.unit, decimals) for end in (score.low, score.high))
    return f"{low}{between}{high}"


def with_interval(score: Score, between: str = "–", decimals: int = 1) -> str:
    """Value and interval, without the unit.

    >>> with_interval(Score(0.5, 0.25, 0.75, 0.5, 8, 4))
    '50.0 (25.0–75.0)'
    """
    value = format_number(score.value, score.unit, decimals)
    return f"{value} ({format_range(score, between, decimals)})"


def format_difference(difference: Difference, decimals: int = 1) -> str:
    """A difference with its sign and its interval, without the unit.

    >>> format_difference(Difference(-0.032, -0.05, 0.001, 0.06, 0.01, 120, 9))
    '-3.2 (-5.0 to +0.1)'
    """
    ends = (difference.value, difference.low, difference.high)
    texts = [format_number(end, difference.unit, decimals) for end in ends]
    value, low, high = (text if text.startswith("-") else f"+{text}" for text in texts)
    return f"{value} ({low} to {high})"


def format_probability(p: float) -> str:
    """A probability with three decimals.

    >>> format_probability(0.0004), format_probability(0.04)
    ('< 0.001', '0.040')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def readable(structure: str) -> str:
    """A structure's name as people read it.

    >>> readable("abdominal_circumference")
    'abdominal circumference'
    """
    return structure.replace("_", " ")
