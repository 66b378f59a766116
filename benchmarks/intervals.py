"""Do the book's intervals hold what they promise? Data whose truth is known, many times over.

Each simulation draws many small studies, lets the book's own code make the interval or the test,
and counts how often the truth lies inside, or how often a difference is claimed that is none.
"""

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from scipy.special import expit

from fetalclip_nb.experiments.embeddings import partitions
from fetalclip_nb.stats import differences, scores
from fetalclip_nb.stats.answers import answer_table, between

OUTPUT = Path("book/_static/intervals.csv")
TITLES = (
    "interval or test",
    "study",
    "counted",
    "aim (%)",
    "found (%)",
    "standard error",
    "trials",
)
RESAMPLES = 1000  # ten times fewer than in the book, for time: the ends are a little rougher
LEVEL = differences.LEVEL


class Found(NamedTuple):
    """What a simulation counted: one line of the table."""

    kind: str
    study: str
    counted: str
    aim: str
    hits: list[bool]

    def row(self) -> list[object]:
        """The line's texts."""
        share, n = float(np.mean(self.hits)), len(self.hits)
        error = 100 * np.sqrt(share * (1 - share) / n)
        return [*self[:4], f"{100 * share:.1f}", f"{error:.1f}", n]


def shares(rng: np.random.Generator, trials: int) -> Iterator[Found]:
    """Shares of right answers, images of a patient alike or not."""
    for true, alike in ((0.99, 0.3), (0.95, 0.3), (0.8, 0.3), (0.95, 0.0)):
        hits = {"share over patients": [], "share over images (as published)": []}
        for _ in range(trials):
            owner = np.repeat(np.arange(190), rng.integers(1, 6, 190))
            odds = (1 - alike) / alike if alike else 1e6
            of_patient = rng.beta(true * odds, (1 - true) * odds, 190)
            right = rng.random(len(owner)) < of_patient[owner]
            for kind, groups in zip(hits, (owner, None), strict=True):
                found = scores.share(right, groups=groups, resamples=RESAMPLES)
                hits[kind].append(found.low <= true <= found.high)
        study = f"true share {true:.0%}, 190 patients, likeness {alike:g}"
        yield from (Found(k, study, "truth inside", "95", v) for k, v in hits.items())


def _choices(rng: np.random.Generator, effects: tuple[float, float]) -> list[dict]:
    """What two rows choose among three classes; hard patients are hard for both."""
    owner = np.repeat(np.arange(100), rng.integers(2, 9, 100))
    labels = rng.integers(0, 3, len(owner))
    ease = rng.normal(1.2, 1, 100)[owner]
    rows = []
    for effect in effects:
        right = rng.random(len(owner)) < expit(ease + effect + rng.normal(0, 0.7, 100)[owner])
        chosen = np.where(right, labels, (labels + rng.integers(1, 3, len(owner))) % 3)
        table = answer_table(np.arange(len(owner)), owner, true=labels, predicted=chosen)
        rows.append({"f1": table})
    return rows


def paired(rng: np.random.Generator, trials: int) -> Iterator[Found]:
    """Macro F1 of two rows on the same patients: no difference, and a small one."""
    study = "macro F1, 100 patients of 2 to 8 images"
    with mock.patch.object(differences.paired, "__kwdefaults__", {"resamples": RESAMPLES}):
        for effect in (0.0, 0.35):
            claimed, inside, apart = [], [], []
            for _ in range(trials):
                ours, others = _choices(rng, (effect, 0.0))
                found = between(ours, others)["f1"]
                claimed.append(found.p < LEVEL)
                inside.append(found.low <= 0 <= found.high)
                # Two separate intervals: of each row against one that is always right.
                ends = []
                for row in (ours, others):
                    table = row["f1"].assign(predicted=row["f1"]["true"])
                    alone = between(row, {"f1": table})["f1"]
                    ends.append((alone.low, alone.high))
                apart.append(ends[0][0] > ends[1][1] or ends[1][0] > ends[0][1])
            if effect:
                size = f"{study}, one row better"
                yield Found("paired difference", size, "claimed", "high", claimed)
                yield Found("two separate intervals", size, "claimed", "high", apart)
            else:
                yield Found("paired difference", study, "truth inside", "95", inside)
                yield Found("paired difference", study, "claimed without any", "5", claimed)
                yield Found("two separate intervals", study, "claimed without any", "5", apart)


def few_data(rng: np.random.Generator, trials: int) -> Iterator[Found]:
    """Mean score over sets of training patients: sets and tested patients are drawn."""
    # Sets of 32 of 112 patients share two sevenths: about the demo's largest ones.
    for sets, shared in ((5, 0.0), (10, 0.0), (20, 0.0), (5, 32 / 112), (20, 32 / 112)):
        drawn_sets = {
            "sets and patients": scores.Sets(sets, shared),
            "patients alone": scores.NO_SETS,
        }
        if shared:
            drawn_sets["overlap of sets forgotten"] = scores.Sets(sets)
        hits = {kind: [] for kind in drawn_sets}
        for _ in range(trials):
            quality = rng.normal(0, 0.4, sets)
            if shared:
                pool = rng.normal(0, 0.4, 112)
                picked = [rng.choice(112, 32, replace=False) for _ in range(sets)]
                quality = np.array([np.sqrt(32) * pool[each].mean() for each in picked])
            ease = rng.normal(0, 1, 100)[:, None] + quality
            chance = 0.7 + 0.08 * ease + 0.03 * rng.normal(size=(100, sets))

            def statistic(weights: np.ndarray, chance: np.ndarray = chance) -> dict:
                return {"score": weights @ chance / weights.sum(1, keepdims=True)}

            for kind, drawn in drawn_sets.items():
                found = scores.bootstrap(statistic, 100, 100, sets=drawn, resamples=RESAMPLES)
                score = found["score"].score
                hits[kind].append(score.low <= 0.7 <= score.high)
        for kind, found in hits.items():
            study = f"{sets} sets that share {shared:.0%}, 100 tested patients"
            yield Found(f"few-data score, {kind}", study, "truth inside", "95", found)


def clusters(rng: np.random.Generator, trials: int) -> Iterator[Found]:
    """Adjusted Rand index of k-means clusters: three clouds on a plane, five that overlap.

    Counted against the mean over samples of as many patients, and against a very large sample.
    """
    triangle = np.array([[0, 0], [2.5, 0], [1, 2.5]])
    around = rng.normal(size=(5, 8))
    around *= 2 / np.linalg.norm(around, axis=1, keepdims=True)

    def drawn(patients: int, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        owner = np.repeat(np.arange(patients), 5)
        labels = rng.integers(0, len(centres), len(owner))
        moved = 0.5 * rng.normal(size=(patients, centres.shape[1]))[owner]
        vectors = centres[labels] + moved
        return vectors + rng.normal(size=vectors.shape), labels, owner

    # Thirty starts suffice for so few clouds, and 200 resamples for a share of trials.
    with mock.patch.multiple(partitions, STARTS=30, BEST_OF=10, RESAMPLES=200):
        for clouds, centres in {"3 clouds": triangle, "5 overlapping clouds": around}.items():
            with mock.patch.object(partitions, "RESAMPLES", 2):
                large = partitions.agreement(*drawn(20_000, centres), seed=0)["ari"].value
            found = [
                partitions.agreement(*drawn(60, centres), seed=0)["ari"]
                for _ in range(max(1, trials // 4))
            ]
            study = f"{clouds}, 60 patients of 5 images"
            aims = {
                "mean of such samples inside": np.mean([score.value for score in found]),
                "index of a very large sample inside": large,
            }
            for counted, truth in aims.items():
                inside = [bool(score.low <= truth <= score.high) for score in found]
                yield Found("adjusted Rand index", study, counted, "95", inside)


def sign_flips(rng: np.random.Generator, trials: int) -> Iterator[Found]:
    """Mean gain of ten patients: the exact test, and an interval of percentiles."""
    study, claimed, outside = "10 patients, differences of long tails", [], []
    for _ in range(4 * trials):
        gains = rng.standard_t(3, 10)
        claimed.append(differences.sign_flip(gains) < LEVEL)
        means = gains[rng.integers(0, 10, (RESAMPLES, 10))].mean(1)
        low, high = np.percentile(means, [2.5, 97.5])
        outside.append(not low <= 0 <= high)
    yield Found("exact test of exchanged maps", study, "claimed without any", "5", claimed)
    yield Found("interval of percentiles (not used)", study, "claimed without any", "5", outside)


SIMULATIONS: tuple[Callable[..., Iterator[Found]], ...] = (
    shares, paired, few_data, clusters, sign_flips,
)  # fmt: skip


def main() -> None:
    """Run all simulations and write the table that the book shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000, help="studies of each kind")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    with options.output.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(TITLES)
        for seed, simulation in enumerate(SIMULATIONS):
            for found in simulation(np.random.default_rng(seed), options.trials):
                table.writerow(found.row())
                print(*found.row(), sep=" | ", flush=True)


if __name__ == "__main__":
    main()
