"""A notebook's images, named in one line: a data set, a folder, files or patterns."""

import os
from pathlib import Path

import numpy as np

from fetalclip_nb.datasets.sources import data_folder
from fetalclip_nb.datasets.table import Dataset
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.folders import open_folder, unlabelled
from fetalclip_nb.inputs import image_files
from fetalclip_nb.paths import resolve
from fetalclip_nb.profiles import DEMO


def open_images(words: str) -> Dataset:
    """Read the images that a parameter names.

    Args:
        words: A folder (see `folders.open_folder`), or files, folders and patterns separated by
            commas, or the word "demo" for the demo's phantoms in the layout of FETAL_PLANES_DB.

    Returns:
        A data set. Images of files and patterns have no label, and each counts as a patient of
        its own.

    Raises:
        DataError: Words that lead to no image, or a folder that is no whole data set.
        ImageError: If images are damaged; all are named.
    """
    if words == DEMO or resolve(words).is_dir():
        return open_folder(data_folder(words, demo="fetal_planes"))
    files = image_files([word.strip() for word in words.split(",") if word.strip()])
    return unlabelled("files", Path(os.path.commonpath([file.parent for file in files])), files)


def drawn_images(dataset: Dataset, count: int, *, seed: int) -> Dataset:
    """A few images of a data set, drawn at random.

    Args:
        dataset: Where to draw from.
        count: Images to draw; all of them where there are fewer.
        seed: Seed of the draw.

    Returns:
        The images drawn, in the order of the data set.

    Raises:
        ParameterError: If no image is asked for.
    """
    if count < 1:
        raise ParameterError(
            "No image to look at", where="count", expected="at least 1", found=count
        )
    order = np.random.default_rng(seed).permutation(len(dataset))
    return dataset.where(np.isin(np.arange(len(dataset)), order[:count]))
