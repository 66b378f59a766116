import cv2
import numpy as np
import pytest
import torch

from fetalclip_nb.data import augmentation, hc18
from fetalclip_nb.data.augmentation import Augmentation, augmented
from fetalclip_nb.data.images import read_square, resize_cubic
from fetalclip_nb.errors import ImageError, ParameterError
from fetalclip_nb.models import embed
from fetalclip_nb.models.model import load_model
from fetalclip_nb.models.pixels import PixelEncoder
from helpers import write_image


@pytest.fixture(scope="module")
def model():
    return load_model("phantomclip-untrained", device="cpu")


def test_embeddings_equal_one_image_at_a_time(model, heads, tmp_path):
    found = embed.image_embeddings(model, heads, cache_dir=tmp_path, batch_size=4)
    for path, vector in zip(heads.paths, found.vectors, strict=True):
        pixels = model.preprocess(read_square(path))[None]
        with torch.inference_mode():
            slow = model.network.encode_image(pixels)[0].numpy()
        assert vector == pytest.approx(slow, abs=1e-5)


def test_second_call_reads_and_never_computes(model, heads, tmp_path, monkeypatch):
    first = embed.image_embeddings(model, heads, cache_dir=tmp_path)
    monkeypatch.setattr(type(model), "encode_images", lambda *_: pytest.fail("computed again"))
    again = embed.image_embeddings(model, heads, cache_dir=tmp_path)
    assert np.array_equal(first.vectors, again.vectors)
    assert again.ids == tuple(heads.table["id"])


def test_subsets_are_picked_by_id(model, heads, tmp_path):
    found = embed.image_embeddings(model, heads, cache_dir=tmp_path)
    subset = heads.where(hc18.counted(heads))
    assert np.array_equal(found.of(subset), found.vectors[1:])


def test_another_image_model_or_precision_gets_another_key(model, heads, tmp_path):
    embed.image_embeddings(model, heads, cache_dir=tmp_path)
    write_image(heads.paths[0], seed=77)
    changed = hc18.read_hc18(heads.root)
    embed.image_embeddings(model, changed, cache_dir=tmp_path)
    rough = load_model("phantomclip-untrained", device="cpu", precision="bf16")
    embed.image_embeddings(rough, changed, cache_dir=tmp_path)
    other = load_model("phantomclip-untrained=phantomclip", device="cpu")
    assert other.name == model.name
    embed.image_embeddings(other, changed, cache_dir=tmp_path)
    assert sum(p.is_dir() for p in (tmp_path / "embeddings").iterdir()) == 4


def test_image_that_breaks_after_reading_is_named(model, heads, tmp_path):
    heads.paths[3].write_bytes(b"x")
    with pytest.raises(ImageError, match="002_2HC"):
        embed.image_embeddings(model, heads, cache_dir=tmp_path)
    assert not any(p.is_dir() and "partial" not in p.name for p in tmp_path.glob("embeddings/*"))


def test_text_is_encoded_once_per_distinct_sentence(model, tmp_path, monkeypatch):
    first = embed.text_embeddings(model, ["a", "b", "a"], cache_dir=tmp_path)
    assert np.array_equal(first[0], first[2])
    assert np.array_equal(first[:2], model.encode_text(["a", "b"]))
    monkeypatch.setattr(type(model), "encode_text", lambda *_: pytest.fail("encoded again"))
    again = embed.text_encoder(model, tmp_path)(["a", "b", "b"])
    assert np.array_equal(again[:2], first[:2])


def test_black_image_has_unit_norm(model):
    assert np.linalg.norm(embed.black_embedding(model)) == pytest.approx(1, abs=1e-6)


class Counting(PixelEncoder):
    """Raw pixels that count their batches, and break after some."""

    batches = 0
    limit = 10**9

    def encode_images(self, pixels):
        if Counting.batches == Counting.limit:
            raise KeyboardInterrupt
        Counting.batches += 1
        return super().encode_images(pixels)


@pytest.fixture
def pixels(monkeypatch):
    monkeypatch.setattr(Counting, "batches", 0)
    monkeypatch.setattr(Counting, "limit", 10**9)
    return Counting(side=8)


def copies_of(model, dataset, cache, *, copies=1, change=None, **options):
    change = change or Augmentation()
    return embed.augmented_embeddings(
        model, dataset, change, copies=copies, cache_dir=cache, **options
    )


def entries(cache):
    return {path for path in (cache / "embeddings").iterdir() if path.is_dir()}


def test_augmented_equal_one_image_at_a_time(model, heads, tmp_path):
    change = Augmentation(seed=3)
    found = copies_of(model, heads, tmp_path, copies=2, change=change, batch_size=4)
    assert found.shape == (2, len(heads), found.shape[2])
    assert found.dtype == np.float32
    for copy in (0, 1):
        for row, name in enumerate(heads.table["id"]):
            image = augmented(read_square(heads.paths[row]), change, name=name, copy=copy)
            slow = embed.prepared_embedding(model, [image])[0]
            assert found[copy, row] == pytest.approx(slow, abs=1e-5)


@pytest.mark.parametrize("augmented_too", [False, True])
def test_published_preparation_resizes_before_the_model_and_is_another_entry(
    model, heads, tmp_path, augmented_too
):
    def made(preparation):
        options = {"cache_dir": tmp_path, "preparation": preparation}
        if augmented_too:
            change = Augmentation()
            return embed.augmented_embeddings(model, heads, change, copies=1, **options)[0]
        return embed.image_embeddings(model, heads, **options).vectors

    ours, published = made("ours"), made("published")
    assert len(entries(tmp_path)) == 2
    for vectors, resize in ((ours, lambda square: square), (published, resize_cubic)):
        name, path = heads.table["id"][0], heads.paths[0]
        square = read_square(path)
        if augmented_too:
            square = augmented(square, Augmentation(), name=name, copy=0)
        slow = embed.prepared_embedding(model, [resize(square)])[0]
        assert vectors[0] == pytest.approx(slow, abs=1e-5)
    assert np.abs(ours - published).max() > 1e-3


def test_unknown_preparation_is_refused(pixels, heads, tmp_path):
    with pytest.raises(ParameterError, match="published or ours.*Found: cubic"):
        embed.image_embeddings(pixels, heads, cache_dir=tmp_path, preparation="cubic")


def test_copies_differ_from_each_other_and_from_the_image(pixels, heads, tmp_path):
    plain = embed.image_embeddings(pixels, heads, cache_dir=tmp_path).vectors
    first, second = copies_of(pixels, heads, tmp_path, copies=2)
    for one, other in ((first, plain), (second, plain), (first, second)):
        assert np.abs(one - other).max(axis=1).min() > 0.01
    again = embed.image_embeddings(pixels, heads, cache_dir=tmp_path).vectors
    assert np.array_equal(again, plain)


def test_a_third_copy_computes_only_itself(pixels, heads, tmp_path):
    two = copies_of(pixels, heads, tmp_path, copies=2)
    assert Counting.batches == 2
    three = copies_of(pixels, heads, tmp_path, copies=3)
    assert Counting.batches == 3
    assert np.array_equal(three[:2], two)
    one = copies_of(pixels, heads, tmp_path, copies=1)
    assert Counting.batches == 3
    assert np.array_equal(one, two[:1])


def test_interrupted_copies_go_on(pixels, heads, tmp_path):
    whole = copies_of(pixels, heads, tmp_path / "whole", copies=3)
    assert Counting.batches == 3
    options = {"copies": 3, "batch_size": 2}
    Counting.batches, Counting.limit = 0, 5  # a whole copy of three batches, then two more
    with pytest.raises(KeyboardInterrupt):
        copies_of(pixels, heads, tmp_path / "cut", **options)
    Counting.batches, Counting.limit = 0, 10**9
    assert np.array_equal(copies_of(pixels, heads, tmp_path / "cut", **options), whole)
    assert Counting.batches == 4
    assert not list(tmp_path.glob("cut/embeddings/*.partial"))


def two_workers(monkeypatch):
    """Load as beside a GPU."""
    loader = embed.DataLoader
    helped = lambda *args, **options: loader(*args, **options | {"num_workers": 2})  # noqa: E731
    monkeypatch.setattr(embed, "DataLoader", helped)


def test_augmented_bytes_depend_on_neither_workers_nor_batches(
    pixels, heads, tmp_path, monkeypatch
):
    alone = copies_of(pixels, heads, tmp_path / "a", copies=2)
    two_workers(monkeypatch)
    helped = copies_of(pixels, heads, tmp_path / "b", copies=2, batch_size=2)
    assert np.array_equal(alone, helped)


class ThreadCount(PixelEncoder):
    """Sees OpenCV's threads where another encoder sees an image."""

    def preprocess(self, image):
        return torch.full((1, 1), float(cv2.getNumThreads()))


def test_loader_processes_use_one_thread(heads, tmp_path, monkeypatch):
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    alone = copies_of(ThreadCount(), heads, tmp_path / "a")
    two_workers(monkeypatch)
    helped = copies_of(ThreadCount(), heads, tmp_path / "b")
    cv2.setNumThreads(before)
    assert (alone.max(), helped.max()) == (2, 1)


@pytest.mark.parametrize("copies", [0, 1])
def test_subset_has_its_own_entry_and_the_same_rows(pixels, heads, tmp_path, copies):
    def embedded(dataset):
        if copies:
            return copies_of(pixels, dataset, tmp_path)[0]
        return embed.image_embeddings(pixels, dataset, cache_dir=tmp_path).vectors

    rows = np.array([False, True, True, False, False, True])
    subset, whole = embedded(heads.where(rows)), embedded(heads)
    assert np.array_equal(subset, whole[rows])
    embedded(heads.where(~rows))
    assert len(entries(tmp_path)) == 3


def test_another_seed_setting_or_version_is_another_entry(pixels, heads, tmp_path, monkeypatch):
    found = [copies_of(pixels, heads, tmp_path)]
    for change in (Augmentation(seed=1), Augmentation(shift=0.1), Augmentation(rotation=10)):
        found.append(copies_of(pixels, heads, tmp_path, change=change))
        assert len(entries(tmp_path)) == len(found)
        assert not np.array_equal(found[0], found[-1])
    monkeypatch.setattr(augmentation, "VERSION", augmentation.VERSION + 1)
    copies_of(pixels, heads, tmp_path)
    assert len(entries(tmp_path)) == len(found) + 1


@pytest.mark.parametrize("copies", [0, -1])
def test_nothing_to_augment_is_refused(pixels, heads, tmp_path, copies):
    with pytest.raises(ParameterError, match=f"at least one copy.*{copies} copies of 6 images"):
        copies_of(pixels, heads, tmp_path, copies=copies)
    nobody = heads.where(np.zeros(len(heads), dtype=bool))
    with pytest.raises(ParameterError, match="1 copies of 0 images"):
        copies_of(pixels, nobody, tmp_path)
