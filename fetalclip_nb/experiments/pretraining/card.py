"""The model card of a pretrained model, written from its scores file and nothing else."""

from importlib import resources

import jinja2

from fetalclip_nb.results.formats import format_number, with_interval
from fetalclip_nb.stats.scores import Score


def model_card(scores: dict[str, dict]) -> str:
    """Fill the template ``card.md.jinja`` with the content of ``scores.json``: Markdown."""
    environment = jinja2.Environment(
        trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["thousands"] = "{:,}".format
    environment.filters["percent"] = format_number
    environment.filters["interval"] = lambda score: with_interval(Score(**score), "-")
    template = (resources.files(__package__) / "card.md.jinja").read_text("utf-8")
    return environment.from_string(template).render(scores)
