"""The model card of a pretrained model, written from its scores file and nothing else."""

from importlib import resources

import jinja2


def model_card(scores: dict[str, dict]) -> str:
    """Fill the template ``card.md.jinja`` with the content of ``scores.json``: Markdown."""
    environment = jinja2.Environment(
        trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"thousands": "{:,}".format, "percent": percent, "interval": interval}
    template = (resources.files(__package__) / "card.md.jinja").read_text("utf-8")
    return environment.from_string(template).render(scores)


def percent(share: float) -> str:
    """A share in percent, with one decimal."""
    return f"{100 * share:.1f}"


def interval(score: dict[str, float]) -> str:
    """Value and interval in percent.

    >>> interval({"value": 0.5, "low": 0.25, "high": 0.75})
    '50.0 (25.0-75.0)'
    """
    return f"{percent(score['value'])} ({percent(score['low'])}-{percent(score['high'])})"
