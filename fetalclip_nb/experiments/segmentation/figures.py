"""Figures of segmentation: outlines on images, agreement of measurements, losses, scores."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fetalclip_nb.errors import DataError, ShapeError
from fetalclip_nb.experiments.segmentation.outlines import draw_outlines, structure_lines
from fetalclip_nb.results.figures import COLOURS, MARKERS, NARROW, colours
from fetalclip_nb.stats.scores import Score


def overlays(
    images: np.ndarray,
    true: np.ndarray,
    predicted: np.ndarray,
    structures: Sequence[str],
    titles: Sequence[str],
    *,
    columns: int = 3,
    size: float = 2.6,
) -> Figure:
    """Images with the outlines of every structure: annotated solid, predicted dashed.

    Each structure has a colour and, where there are several, a number that stands on its
    outline. A structure that is absent has no outline. Each image is cropped to its outlines
    with a margin, so that small structures can be told apart; where there are none it is whole.

    Args:
        images: What to show, uint8 of shape (k, S, S, 3).
        true: Annotated regions, bool of shape (k, C, S, S).
        predicted: Predicted regions, bool of shape (k, C, S, S).
        structures: C names.
        titles: k titles.
        columns: Images in a row; two are still read on a telephone where there are many
            structures.
        size: Side of an image in inches.

    Raises:
        ShapeError: If there is no image or the sizes do not match.
    """
    shape = (len(images), len(structures), *np.shape(images)[1:3])
    _require_shapes({"true": (true, shape), "predicted": (predicted, shape)})
    _require_shapes({"titles": (titles, shape[:1])})
    if not len(images):
        raise ShapeError("No images to show", where="images", expected="at least one", found=0)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * size, rows * (size + 0.3)), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, *masks, title in zip(axes.flat, images, true, predicted, titles, strict=False):
        axis.imshow(image)
        axis.set_title(title, fontsize=10)
        draw_outlines(axis, *masks)
    figure.tight_layout()
    lines = structure_lines(structures)
    figure.legend(
        handles=lines,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.02),
        ncols=max(1, min(len(lines), int(columns * size / 1.9))),
        fontsize=10,
        handlelength=3,
    )
    return figure


def bland_altman(
    measured: np.ndarray,
    true: np.ndarray,
    agreement: Mapping[str, Score],
    *,
    unit: str = "mm",
    label: str,
) -> Figure:
    """Difference against mean of two measurements, with bias and 95 % limits of agreement.

    Images that could not be measured have no point; the title counts them. Points beyond the
    limits are crosses.

    Args:
        measured: Measurements, shape (n,); NaN where there is none.
        true: Reference measurements, shape (n,).
        agreement: "bias", and the limits "low" and "high", in the unit of the measurements,
            with their intervals, which are drawn as bands.
        unit: Unit of all of these.
        label: What is measured ("head circumference").

    Raises:
        ShapeError: If the numbers of measurements differ.
        DataError: If a reference measurement is not a number.

    Source: Bland and Altman, Lancet 327 (1986) 307-310.
    """
    measured, true = (np.asarray(values, dtype=np.float64) for values in (measured, true))
    _require_shapes({"true": (true, measured.shape)})
    if not np.isfinite(true).all():
        raise DataError(
            "Reference measurements are missing",
            where="true",
            expected="a number for each image",
            found=f"{np.count_nonzero(~np.isfinite(true))} of {true.size} are none",
            fix="leave out the images that have no reference",
        )
    known = np.isfinite(measured)
    mean, difference = ((measured + true) / 2)[known], (measured - true)[known]
    low, high = agreement["low"].value, agreement["high"].value
    outside = (difference < low) | (difference > high)
    figure, axis = plt.subplots(figsize=(NARROW, 4.4))
    for name, colour, style in (("bias", 0, "-"), ("high", 1, "--"), ("low", 1, "--")):
        found = agreement[name]
        if np.isnan(found.value):
            continue
        axis.axhspan(found.low, found.high, color=COLOURS[colour], alpha=0.2, lw=0)
        ends = f"{_signed(found.low)} to {_signed(found.high)}"
        text = f"{_LINES[name]} {_signed(found.value)} {unit} ({ends})"
        axis.axhline(found.value, color=COLOURS[colour], ls=style, lw=1.6, label=text)
    axis.plot(mean[~outside], difference[~outside], "o", ms=4, mew=0, color="0.25", alpha=0.7)
    axis.plot(
        *(values[outside] for values in (mean, difference)),
        "X",
        ms=7,
        color=COLOURS[3],
        mec="white",
        label=f"outside the limits: {np.count_nonzero(outside)} of {known.sum()}",
    )
    axis.set_title(f"{known.sum():,} measured, {np.count_nonzero(~known):,} not measured")
    axis.set_xlabel(f"mean of measured and true {label} ({unit})")
    axis.set_ylabel(f"measured − true ({unit})")
    axis.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.2),
        fontsize=9,
        title="line: value (its 95 % interval, the band)",
        title_fontsize=9,
    )
    figure.tight_layout()
    return figure


_LINES = {"bias": "bias", "low": "lower 95 % limit", "high": "upper 95 % limit"}


def losses(losses: Mapping[str, np.ndarray], *, label: str) -> Figure:
    """Validation loss by epoch: mean and range over the decoders, one line a model.

    After an early stop a decoder no longer counts: later means are of those still trained.

    Args:
        losses: Model to losses, shape (H, epochs) of H decoders; NaN after an early stop.
        label: Name of the vertical axis.
    """
    figure, axis = plt.subplots(figsize=(NARROW, 3.6))
    for (name, runs), colour, marker in zip(
        losses.items(), colours(), cycle(MARKERS), strict=False
    ):
        runs = np.asarray(runs, dtype=np.float64)
        trained = np.flatnonzero(~np.isnan(runs).all(axis=0))
        epochs, runs = trained + 1, runs[:, trained]
        low, mean, high = (f(runs, axis=0) for f in (np.nanmin, np.nanmean, np.nanmax))
        axis.fill_between(epochs, low, high, color=colour, alpha=0.18, lw=0)
        axis.plot(
            epochs,
            mean,
            marker=marker,
            ms=5,
            markevery=max(1, epochs.size // 10),
            color=colour,
            label=name,
        )
    longest = max(np.shape(runs)[1] for runs in losses.values())
    axis.set(xlabel="epoch", ylabel=label, xlim=(0.5, longest + 0.5))
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9)
    figure.tight_layout()
    return figure


def _signed(value: float) -> str:
    """A number with its sign, as axes write it.

    >>> _signed(-1.25), _signed(0.31)
    ('−1.2', '+0.3')
    """
    return f"{value:+.1f}".replace("-", "−")


def _require_shapes(arrays: Mapping[str, tuple[Sequence, tuple[int, ...]]]) -> None:
    """Refuse the first array that is not of its shape."""
    for name, (values, shape) in arrays.items():
        if np.shape(values) != shape:
            raise ShapeError(
                "Sizes do not match", where=name, expected=shape, found=np.shape(values)
            )
