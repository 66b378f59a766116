"""Probes of FETAL_PLANES_DB tested on planes from elsewhere: nothing is learnt there."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from fetalclip_nb.data.african_planes import TASK, african_task
from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.fetal_planes import SIX_PLANES
from fetalclip_nb.experiments.linear_probing.probe import (
    PROBE,
    Encoded,
    Logits,
    embed,
    fit_probes,
)
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe
from fetalclip_nb.models.embed import ImageEncoder
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
    models: Iterable[ImageEncoder],
    external: Mapping[str, Task],
    features: Mapping[tuple[str, str], Encoded],
    tasks: Mapping[str, Task],
    recipe: ProbeRecipe,
    *,
    seed: int,
    cache_dir: Path,
    batch_size: int = 64,
    device: str = "cpu",
) -> Logits:
    """What each model's probes of six planes say elsewhere, logits of shape (H, N, 6).

    The probes are the chapter's own, read from its cache, and images are prepared alike.

    Args:
        models: Encoders.
        external: As given by `external_tasks`.
        features: The chapter's, as given by `embed`.
        tasks: The chapter's, with "six_planes".
        recipe: How the chapter's probes were trained.
        seed: Seed of the probes.
        cache_dir: Folder that all notebooks share.
        batch_size: Images in a forward pass.
        device: "cpu" or "cuda".
    """
    logits, home = {}, "six_planes"
    shared = {"cache_dir": cache_dir, "batch_size": batch_size}
    asked = embed(models, external, copies=0, preparation=recipe.preparation, **shared)
    for (model, _), encoded in asked.items():
        probes = fit_probes(features[model, home], tasks[home], recipe, seed, cache_dir, device)
        logits[model, PROBE, TASK] = probes.logits(encoded.plain)
    return logits
