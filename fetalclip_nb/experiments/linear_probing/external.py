"""Probes of FETAL_PLANES_DB tested on planes from elsewhere: nothing is learnt there."""

from collections.abc import Mapping
from pathlib import Path

from fetalclip_nb.data.african_planes import TASK, african_task
from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.fetal_planes import SIX_PLANES
from fetalclip_nb.experiments.linear_probing.probe import PROBE, Encoded, Logits, fit_probes
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe
from fetalclip_nb.tasks.items import Task, image_items
from fetalclip_nb.tasks.splits import Split


def external_tasks(images: Dataset, tasks: Mapping[str, Task]) -> dict[str, Task]:
    """All images of another cohort as tested items, among the six planes that probes know.

    Args:
        images: The African planes; "other" and "cervix" have none.
        tasks: The chapter's, with "six_planes".
    """
    everybody = tuple(sorted(set(images.table["patient"])))
    items = image_items(TASK, african_task(images, tasks, "six_planes")[TASK], SIX_PLANES)
    return {TASK: Task(images, items, {TASK: Split("external", everybody, ())})}


def external_logits(
    features: Mapping[tuple[str, str], Encoded],
    tasks: Mapping[str, Task],
    recipe: ProbeRecipe,
    external: Mapping[tuple[str, str], Encoded],
    *,
    seed: int,
    cache_dir: Path,
    device: str = "cpu",
) -> Logits:
    """What each model's probes of six planes say elsewhere, logits of shape (H, N, 6).

    The probes are the chapter's own, read from its cache.

    Args:
        features: The chapter's, as given by `embed`.
        tasks: The chapter's, with "six_planes".
        recipe: How the chapter's probes were trained.
        external: Features of `external_tasks`, as given by `embed` with the same preparation.
        seed: Seed of the probes.
        cache_dir: Folder that all notebooks share.
        device: "cpu" or "cuda".
    """
    logits = {}
    for (model, _), encoded in external.items():
        known, task = features[model, "six_planes"], tasks["six_planes"]
        probes = fit_probes(known, task, recipe, seed, cache_dir, device)
        logits[model, PROBE, TASK] = probes.logits(encoded.plain)
    return logits
