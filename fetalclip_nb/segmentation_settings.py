"""Parameters of the segmentation chapters, checked before any image is encoded."""

from collections.abc import Mapping, Sequence

from fetalclip_nb.decoder import UPSCALING
from fetalclip_nb.decoder_data import DecoderRecipe
from fetalclip_nb.errors import DataError, ParameterError, listing
from fetalclip_nb.mask_tasks import MaskTask
from fetalclip_nb.probe_items import Items
from fetalclip_nb.splits import Split, rows_of
from fetalclip_nb.taps import SPACINGS


def require_decoder_settings(
    splits: Mapping[str, tuple[Items, Sequence[Split]]],
    *,
    side: int,
    copies: int,
    runs: int,
    recipe: DecoderRecipe,
    taps: str = "published",
) -> None:
    """Refuse a chapter's parameters that no decoder could be trained with.

    Args:
        splits: What a message shall call a task ("head, 4 patients") to its items and splits;
            all their folds are counted from 0, as in the tables of splits.
        side: Side of the decoder's images in pixels.
        copies: Augmented copies of an image that is trained on; 0 for the image itself.
        runs: Decoders a fold.
        recipe: How they are trained.
        taps: Which blocks, as `taps.tap_blocks` takes it.

    Raises:
        ParameterError: Numbers out of range, and training sets with fewer rows than a batch:
            all of them at once.
    """
    wrong = _out_of_range(side, copies, runs, recipe)
    if taps not in SPACINGS:
        wrong.append(f"taps = {taps!r}, not one of {', '.join(SPACINGS)}")
    few = []
    if copies >= 0 and recipe.batch_size >= 1:
        few = [
            f"{name}: {short}, batch {recipe.batch_size}"
            for name, (items, parts) in splits.items()
            if (short := _short_sets(items, parts, max(copies, 1), recipe.batch_size))
        ]
    if wrong or few:
        raise ParameterError(
            "Decoders cannot be trained with these parameters",
            expected="as many training images in each set as in a batch, counting copies"
            if few
            else "numbers that a decoder can be trained with",
            found="; ".join([*wrong, *few]),
            fix="more copies, a smaller batch, or larger sets" if few else "",
        )


def require_shown(task: MaskTask, split: Split) -> None:
    """Refuse a split in which no image of a side shows some structure, before work starts.

    Args:
        task: The task.
        split: Its split; validation may go without a structure.

    Raises:
        DataError: Naming all structures that a fold trains on, or that is tested, without one
            image of them.
    """
    sides = {"test": split.test}
    sides |= {f"training of fold {i}": fold.train for i, fold in enumerate(split.folds)}
    missing = [
        f"no {structure} in {side}"
        for side, patients in sides.items()
        for structure, areas in zip(task.structures, task.areas.T, strict=True)
        if not areas[rows_of(task.items.table, patients)].any()
    ]
    if missing:
        raise DataError(
            "Structures are shown by no image of a side",
            where=f"{task.dataset.root}, {task.name}",
            expected="each structure in an image of test and of each fold's training",
            found=listing(missing),
            fix="name other patients in the column split, or leave these masks out",
        )


def schedule_text(recipe: DecoderRecipe, *, side: int, copies: int, decoders: int) -> str:
    """What a chapter says of its schedule.

    Args:
        recipe: How decoders are trained.
        side: Side of the decoder's images in pixels.
        copies: Augmented copies of an image that is trained on.
        decoders: Decoders of the headline model on heads.

    >>> schedule_text(DecoderRecipe(), side=224, copies=5, decoders=25)
    '100 epochs at a rate of 0.0003, 8 images a step, images of 224 pixels a side, 32 filters, \
5 augmented copies of each image, 25 decoders a model on heads'
    """
    falling = ", which rises and falls," if recipe.decay else ","
    several = "decoder" if decoders == 1 else "decoders"
    seen = f"{copies} augmented copies of each image" if copies else "images as they are"
    return (
        f"{recipe.epochs} epochs at a rate of {recipe.learning_rate:g}{falling} "
        f"{recipe.batch_size} images a step, images of {side} pixels a side, "
        f"{recipe.filters} filters, {seen}, {decoders} {several} a model on heads"
    )


def further_differences(*, taps: str, decay: bool, patience: int = 0) -> list[str]:
    """How settings that are no numbers of the protocol differ from it, one text each.

    >>> further_differences(taps="even", decay=False, patience=3)
    ['evenly spaced taps', 'stop after 3 epochs without progress']
    """
    stop = f"stop after {patience} epochs without progress" if patience else ""
    texts = ("evenly spaced taps" * (taps == "even"), "falling rate" * decay, stop)
    return [text for text in texts if text]


def _out_of_range(side: int, copies: int, runs: int, recipe: DecoderRecipe) -> list[str]:
    """What is wrong with the numbers themselves, one text each."""
    least = {
        "copies": (copies, 0),
        "runs": (runs, 1),
        "epochs": (recipe.epochs, 1),
        "batch": (recipe.batch_size, 1),
        "patience": (recipe.patience, 0),
    }
    wrong = [f"{name} = {n}, less than {low}" for name, (n, low) in least.items() if n < low]
    if side < UPSCALING or side % UPSCALING:
        wrong.append(f"side = {side}, not a multiple of {UPSCALING}")
    if recipe.filters < 2 or recipe.filters % 2:
        wrong.append(f"filters = {recipe.filters}, not an even number from 2 up")
    if not 0 < recipe.learning_rate < 1:
        wrong.append(f"learning rate = {recipe.learning_rate}, not between 0 and 1")
    return wrong


def _short_sets(items: Items, splits: Sequence[Split], copies: int, batch: int) -> str:
    """Sets with fewer rows than a batch, or "" if there are none."""
    folds = [fold for split in splits for fold in split.folds]
    rows = [copies * int(rows_of(items.table, fold.train).sum()) for fold in folds]
    return listing(f"set {i}: {n} training images" for i, n in enumerate(rows) if n < batch)
