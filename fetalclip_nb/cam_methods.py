"""Methods of class activation maps: their names, and how a run differs from the paper's."""

from collections.abc import Sequence

from fetalclip_nb.errors import ParameterError

METHODS = ("scorecam", "gradcam", "layercam")
"""ScoreCAM as published; two that need a single backward pass, for comparison."""

TITLES = {"scorecam": "ScoreCAM", "gradcam": "GradCAM", "layercam": "LayerCAM"}
"""Methods as they are written in texts."""

PUBLISHED_IMAGES, PUBLISHED_WEIGHT = 10, 0.5
"""Images of each class, and weight of the map in an overlay."""


def parse_methods(*texts: str) -> list[str]:
    """Methods of comma-separated lists, each once, as a notebook takes them.

    Raises:
        ParameterError: If there is none, or one does not exist.

    >>> parse_methods("scorecam", "gradcam, scorecam,")
    ['scorecam', 'gradcam']
    """
    words = [word.strip() for text in texts for word in text.split(",")]
    methods = [word for word in dict.fromkeys(words) if word]
    require_methods(methods or [""])
    return methods


def twin_text(others: Sequence[str]) -> str:
    """Whether an untrained model was run beside, as a sentence.

    >>> twin_text(["ours-untrained", "clip"])
    'Untrained here: ours-untrained.'
    """
    untrained = [name for name in others if name.endswith("-untrained")]
    if untrained:
        return f"Untrained here: {', '.join(untrained)}."
    return (
        "No untrained model was run, so this question stays open: add CONFIG.json-untrained to the "
        "models."
    )


def deviation_text(method: str, per_class: int, weight: float) -> str:
    """In what maps of a run differ from the published ones, as a sentence.

    Args:
        method: One of `METHODS`.
        per_class: Images of each class.
        weight: Of the map in an overlay.

    >>> deviation_text("gradcam", 10, 0.5)
    'Not as published: GradCAM (published: ScoreCAM).'
    """
    unlike = []
    if method != METHODS[0]:
        unlike.append(f"{TITLES[method]} (published: {TITLES[METHODS[0]]})")
    if per_class != PUBLISHED_IMAGES:
        unlike.append(f"{per_class} images of each class ({PUBLISHED_IMAGES})")
    if weight != PUBLISHED_WEIGHT:
        unlike.append(f"weight of the overlay {weight:g} ({PUBLISHED_WEIGHT})")
    if not unlike:
        return "Method, images of each class and weight of the overlay are the published ones."
    return f"Not as published: {'; '.join(unlike)}."


def require_methods(methods: Sequence[str]) -> None:
    """Refuse methods that do not exist, before anything is computed.

    Raises:
        ParameterError: Naming all of them.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise ParameterError(
            "No such method to make maps",
            where="method",
            expected=", ".join(METHODS),
            found=", ".join(unknown) or "nothing",
        )
