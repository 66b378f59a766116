"""Phantom hearts: defects that look like their names, clips that beat, a cohort without cues."""

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, mannwhitneyu
from sklearn.metrics import roc_auc_score

from fetalclip_nb.data.manifest import read_manifest
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.phantoms import chd, clips
from fetalclip_nb.phantoms.chd import write_chd
from fetalclip_nb.phantoms.clips import draw_clip
from fetalclip_nb.phantoms.heart import DEFECTS, ENLARGED, HYPOPLASTIC, SEPTAL, STROKE
from fetalclip_nb.phantoms.picture import draw
from fetalclip_nb.tasks.items import gather_clips

CHAMBERS = ("LV", "RV", "LA", "RA")


def heart(seed, defect=None, phase=0.0, **options):
    looks = {"defect": defect, "phase": phase}
    return draw("thorax", np.random.default_rng([5, seed]), heart=looks, **options)


def shares(phantom):
    """Area of each chamber over the heart's."""
    return {name: phantom.masks[name].sum() / phantom.masks["heart"].sum() for name in CHAMBERS}


def crux(phantom):
    """Mean grey of a small disc amid the four chambers."""
    place = np.mean([phantom.outlines[name][0].mean(axis=0) for name in CHAMBERS], axis=0)
    radius = 0.06 * np.ptp(phantom.outlines["heart"][0], axis=0).mean()
    disc = np.zeros_like(phantom.image)
    cv2.circle(disc, [round(v) for v in place.tolist()], round(radius), 1, -1)
    return phantom.image[disc > 0].mean()


@pytest.mark.parametrize("seed", range(8))
def test_hearts_look_like_the_names_of_their_defects(seed):
    """The heart of every thorax is a normal one at rest."""
    plain = draw("thorax", np.random.default_rng([5, seed]))
    normal, gap = heart(seed), heart(seed, SEPTAL)
    assert np.array_equal(plain.image, normal.image)
    even, small, wide = (shares(heart(seed, defect)) for defect in (None, HYPOPLASTIC, ENLARGED))
    assert 0.8 < even["LV"] / even["RV"] < 1.3 and 0.8 < even["LA"] / even["RA"] < 1.3
    assert small["LV"] < 0.2 * even["LV"] and small["LA"] < 0.4 * even["LA"]
    assert small["RV"] > 1.5 * even["RV"] and small["RA"] > 1.2 * even["RA"]
    assert wide["RA"] > 4 * wide["LA"] and max(wide, key=wide.get) == "RA"
    assert wide["RV"] < 0.6 * even["RV"] and wide["LV"] == pytest.approx(even["LV"], rel=0.02)
    # A septal defect leaves blood at the crux and nothing else.
    assert crux(gap) < 0.5 * crux(normal)
    for other in (plain, gap):
        assert all((normal.masks[name] == other.masks[name]).all() for name in normal.masks)


@pytest.mark.parametrize("defect", [None, *DEFECTS])
def test_ventricles_narrow_while_atria_fill(defect):
    full, half, contracted = (heart(3, defect, phase).outlines for phase in (0, 0.5, 1))
    for name in CHAMBERS:
        factor = 1 - STROKE if name.endswith("V") else 1 + STROKE / 2
        # Each point moves towards the chamber's centre or away from it by the same share.
        rest = contracted[name][0] - factor * full[name][0]
        assert np.ptp(rest, axis=0) == pytest.approx([0, 0], abs=1e-9)
        between = (full[name][0] + contracted[name][0]) / 2
        assert half[name][0] == pytest.approx(between, abs=1e-9)
    assert np.array_equal(full["heart"][0], contracted["heart"][0])
    assert np.array_equal(full["thorax"][0], contracted["thorax"][0])


def test_an_unknown_defect_is_refused_and_not_drawn_as_normal():
    with pytest.raises(ParameterError, match=r"Where: defect.*septal defect.*Found: leaky"):
        draw_clip(np.random.default_rng(0), frames=1, defect="leaky")


def test_frames_of_a_clip_share_anatomy_but_neither_phase_nor_speckle(drawn_by):
    seen = drawn_by(clips)
    frames = draw_clip(np.random.default_rng(4), frames=4, defect=HYPOPLASTIC)
    assert len(frames) == 4 and len({frame.shape for frame in frames}) == 1
    for phantom in seen[1:]:
        for name in ("thorax", "heart", "spine", "aorta"):
            assert np.array_equal(phantom.outlines[name][0], seen[0].outlines[name][0])
    phases = [phantom.detail["phase"] for phantom in seen]
    assert {phantom.detail["defect"] for phantom in seen} == {HYPOPLASTIC}
    # Spread evenly over a beat: opposite moments add up to one.
    assert phases[0] + phases[2] == pytest.approx(1) == phases[1] + phases[3]
    assert np.ptp(phases) > 0.5


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_speckle_is_new_in_each_frame_even_at_the_same_phase(monkeypatch, seed):
    def still(plane, rng, *, heart, **options):
        return draw(plane, rng, heart={**heart, "phase": 0.0}, **options)

    monkeypatch.setattr(clips, "draw", still)
    first, second = draw_clip(np.random.default_rng(seed), frames=2)
    (other,) = draw_clip(np.random.default_rng(seed + 100), frames=1)
    assert (first != second).mean() > 0.8
    # Without the grain, frames of a clip are alike; those of different clips are not.
    smooth = [cv2.GaussianBlur(i.astype(float), (0, 0), 8) for i in (first, second, other)]
    smooth[2] = cv2.resize(smooth[2], first.shape[::-1])
    alike, unlike = (np.corrcoef(smooth[0].ravel(), s.ravel())[0, 1] for s in smooth[1:])
    assert alike > 0.85 and unlike < 0.5


def require_whole(window, mask, case):
    """The window holds all pixels of the mask, none of them on its edge."""
    edge = [*window[0], *window[-1], *window[:, 0], *window[:, -1]]
    assert window.sum() == mask.sum() and not any(edge), case


def test_the_window_always_holds_the_whole_heart(monkeypatch):
    hearts = []

    def only_the_heart(*args, **options):
        phantom = draw(*args, **options)
        hearts.append(phantom.masks["heart"])
        return replace(phantom, image=hearts[-1].astype(np.uint8))

    monkeypatch.setattr(clips, "draw", only_the_heart)
    places, sides = [], []
    for seed in range(200):
        defect = (None, *DEFECTS)[seed % 4]
        window = draw_clip(np.random.default_rng([7, seed]), frames=1, defect=defect)[0]
        require_whole(window, hearts[-1], seed)
        places.append(np.argwhere(window).mean(axis=0) / window.shape)
        sides.append(window.shape[0] / hearts[-1].shape[0])
    # Neither the place of the heart nor its magnification is always the same.
    assert (np.std(places, axis=0) > 0.05).all()
    assert np.ptp(sides) > 0.15 and max(sides) <= clips.WINDOW[1]


@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.999, 0.999), (0.0, 0.999)])
def test_the_tightest_windows_hold_the_whole_heart(offset):
    for seed in range(40):
        phantom = heart(seed, field_ratio=clips.FIELD[0])
        mask = phantom.masks["heart"]
        picture = replace(phantom, image=mask.astype(np.uint8))
        window = clips.heart_window(picture, clips.WINDOW[0], offset)
        require_whole(window, mask, seed)
        assert window.shape == tuple(int(side * clips.WINDOW[0]) for side in mask.shape)


def test_brightness_and_framing_are_no_cue():
    kinds = [DEFECTS[i // 2 % len(DEFECTS)] if i % 2 else None for i in range(300)]
    streams = [np.random.default_rng([0, i]) for i in range(300)]
    clip_of = zip(streams, kinds, strict=True)
    pictures = [draw_clip(rng, frames=1, defect=kind)[0] for rng, kind in clip_of]
    labels = [kind is not None for kind in kinds]
    for cue in (np.mean, np.std, len, lambda picture: picture.shape[1]):
        assert 0.4 < roc_auc_score(labels, [cue(picture) for picture in pictures]) < 0.6


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = tmp_path_factory.mktemp("hearts") / "chd"
    write_chd(root, patients=24, seed=3, workers=1)
    return root


def test_the_cohort_is_a_manifest_of_clips(cohort):
    table = pd.read_csv(cohort / "manifest.csv", keep_default_na=False)
    assert list(table.columns) == [
        *("image", "label", "patient", "split", "clip", "frame", "defect", "operator", "machine")
    ]
    assert table["image"].str.fullmatch(r"clips/Patient\d{3}_[12]/[0-3]\.png").all()
    written = {path.relative_to(cohort).as_posix() for path in cohort.rglob("*.png")}
    assert written == set(table["image"]) and len(table) == len(written)
    paths = "clips/" + table["clip"] + "/" + table["frame"].astype(str) + ".png"
    assert (table["image"] == paths).all()
    assert (table["clip"].str.rpartition("_")[0] == table["patient"]).all()
    assert set(table.loc[table["label"] == "CHD", "defect"]) == set(DEFECTS)
    assert set(table.loc[table["label"] == "normal", "defect"]) == {""}


def test_the_cohort_is_read_as_clips(cohort):
    dataset = read_manifest(cohort)
    assert dataset.synthetic
    found = gather_clips(dataset, frames=chd.FRAMES)
    assert len(found.table) * chd.FRAMES == len(dataset) and found.frames.shape[1] == chd.FRAMES
    assert found.table["patient"].nunique() == 24 < len(found.table)
    groups = found.table.groupby("split")["label"]
    assert {split: set(labels) for split, labels in groups} == {
        side: {chd.NORMAL, chd.DEFECT} for side in ("train", "test")
    }
    shared = dataset.table.groupby("patient")[["split", "label", "defect", "machine", "operator"]]
    assert (shared.nunique() == 1).all(axis=None)


def test_frames_on_disk_are_those_that_the_clip_draws(cohort):
    plan, _ = chd._plan(24, 3)
    index, clip = next((i, clip) for i, clip in enumerate(plan) if clip.defect)
    stream = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(1, index)))
    frames = draw_clip(stream, frames=4, defect=clip.defect, patient=clip.patient)
    for number, frame in enumerate(frames):
        path = cohort / clip.folder / f"{number}.png"
        assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), frame)


def test_labels_are_even_and_say_nothing_about_who_scanned_whom():
    plan, table = chd._plan(600, 11)
    patients = table.drop_duplicates("patient").set_index("patient")
    counts = patients["defect"].value_counts()
    assert counts[""] == 300 and {counts[defect] for defect in DEFECTS} == {100}
    assert (patients["split"] == "test").sum() == 240
    for column in ("machine", "operator", "split"):
        assert patients[column].nunique() > 1
        assert chi2_contingency(pd.crosstab(patients["label"], patients[column])).pvalue > 0.05
    ages = {clip.folder.split("/")[1].split("_")[0]: clip.patient.age_days for clip in plan}
    age = patients.index.map(ages)
    assert chd.AGES[0] <= age.min() < 140 and 215 < age.max() < chd.AGES[1]
    sick = (patients["label"] == chd.DEFECT).to_numpy()
    assert mannwhitneyu(age[sick], age[~sick]).pvalue > 0.05
    twice = Counter(table.drop_duplicates("clip")["patient"])
    second = np.array([twice[name] == 2 for name in patients.index])
    assert second.mean() == pytest.approx(chd.SECOND_CLIP, abs=0.05)
    assert chi2_contingency(pd.crosstab(sick, second)).pvalue > 0.05
