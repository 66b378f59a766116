"""Whose sentences ask for the age: ours, the authors', or those of a file."""

from pathlib import Path

from fetalclip_nb.data.prompts import load_age_templates
from fetalclip_nb.data.released import AGE_SCRIPT, is_released, released_file
from fetalclip_nb.paths import resolve

OURS = "gestational_age"
"""Name of our own set."""


def load_frames(source: str, released: Path) -> dict[str, list[str]]:
    """Sentence frames to ask with, and others to stand beside them.

    Args:
        source: As for `load_age_templates`.
        released: Folder of the authors' files; it need not exist.

    Returns:
        Lists "templates" and "unseen", as given by `load_age_templates`; and "our sentences",
        where others ask, or "the authors' sentences", where ours do and the script is there.
    """
    frames = load_age_templates(source)
    if source != OURS:
        return frames | {"our sentences": load_age_templates(OURS)["templates"]}
    if not (released / AGE_SCRIPT).is_file():
        return frames
    script = load_age_templates(released_file(released, AGE_SCRIPT))
    return frames | {"the authors' sentences": script["templates"]}


def whose(source: str) -> str:
    """Whose sentences these are: "ours", "the authors'" (by the script's hash) or "a file's".

    >>> whose("gestational_age")
    'ours'
    """
    if source == OURS:
        return "ours"
    return "the authors'" if is_released(resolve(source), AGE_SCRIPT) else "a file's"


def deviation(source: str) -> str:
    """What keeps a score from being compared with the published one; "" if nothing does.

    >>> deviation("gestational_age")
    'our sentences'
    """
    return {"ours": "our sentences", "a file's": "own sentences"}.get(whose(source), "")
