"""Two plain rivals of a linear probe: logistic regression and nearest neighbours.

Both learn from the images of the probes' training patients, but as they are: the probes see
augmented copies of them alone. Both have one setting, chosen on the validation rows.
"""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from fetalclip_nb.experiments.linear_probing.recipe import ProbeRows

PENALTIES = tuple(10.0**power for power in range(2, -5, -1))
"""Strengths to try, the strongest first: it is chosen among equals."""

NEIGHBOURS = (1, 3, 5, 10, 20, 50)
"""Numbers to try: the smallest of equals is chosen; more than there are rows count as all."""

ABSENT = -1e4
"""Log-probability of a class without training row: nothing, but finite."""

UNSEEN = np.log(1e-6)
"""Log-probability of a class that is known but not among the nearest neighbours."""

_TIE = 1e-4  # weight of the similarities beside the votes: below one vote for all k in use


@dataclass(frozen=True)
class LogisticProbe:
    """A fitted logistic regression.

    Attributes:
        penalty: The strength that was chosen, on the mean loss (no unit).
        losses: Validation cross-entropy of each strength tried.
        fitted: Scaling and regression.
        n_classes: C, those without a training row among them.
    """

    penalty: float
    losses: dict[float, float]
    fitted: Pipeline
    n_classes: int

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Log-probabilities of features (N, D), float32 (N, C); -10,000 without a training row."""
        logits = np.full((len(features), self.n_classes), ABSENT, np.float32)
        sums = self.fitted.decision_function(features)
        sums = np.stack([np.zeros_like(sums), sums], axis=1) if sums.ndim == 1 else sums
        # Not the logarithm of probabilities, which are 0 where classes lie far apart.
        logits[:, self.fitted.classes_] = log_softmax(sums, axis=1)
        return logits


@dataclass(frozen=True)
class NeighbourProbe:
    """Votes of the nearest training rows on cosine similarity.

    Attributes:
        neighbours: The number of voters that was chosen.
        scores: Validation macro F1 of each number tried.
        index: Training rows, ready to be searched.
        votes: Which class each training row votes for, 0 or 1 of shape (n_train, C).
    """

    neighbours: int
    scores: dict[int, float]
    index: NearestNeighbors
    votes: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Logarithm of each class's share of votes on features (N, D), float32 of shape (N, C).

        Equal votes go to the more similar class. It is -13.8 (one in a million) for classes
        without a vote and -10,000 for classes without a training row.
        """
        distances, rows = self.index.kneighbors(features, self.neighbours)
        return _vote_logits(distances, self.votes[rows], self.votes.any(0))


def logistic_regression(
    features: np.ndarray, targets: np.ndarray, data: ProbeRows, n_classes: int
) -> LogisticProbe:
    """Fit a softmax regression with the L2 penalty of the lowest validation loss.

    It minimises mean cross-entropy + ``penalty / 2 * |weights|^2`` on features scaled to mean 0
    and deviation 1 over the training rows; the bias is free. Each fit starts from the next
    stronger penalty's.

    Args:
        features: float32 of shape (N, D).
        targets: Classes from 0, integers of shape (N,).
        data: Rows to fit and rows to choose on; the seeds are not used.
        n_classes: C.
    """
    labels, truth = targets[data.train], targets[data.validation]
    regression = LogisticRegression(warm_start=True, max_iter=1000)
    pipeline = make_pipeline(StandardScaler(), regression)
    losses, probes = {}, []
    for penalty in PENALTIES:
        regression.set_params(C=1 / (penalty * len(labels)))
        pipeline.fit(features[data.train], labels)
        probe = LogisticProbe(penalty, losses, deepcopy(pipeline), n_classes)
        logits = probe.logits(features[data.validation])
        losses[penalty] = float(-logits[np.arange(len(truth)), truth].mean(dtype=float))
        probes.append(probe)
    return min(probes, key=lambda probe: losses[probe.penalty])


def nearest_neighbours(
    features: np.ndarray, targets: np.ndarray, data: ProbeRows, n_classes: int
) -> NeighbourProbe:
    """Let the nearest training rows vote, as many of them as give the best validation macro F1.

    Args:
        features: float32 of shape (N, D).
        targets: Classes from 0, integers of shape (N,).
        data: Rows that vote and rows to choose on; the seeds are not used.
        n_classes: C.
    """
    tried = sorted({min(k, len(data.train)) for k in NEIGHBOURS})
    index = NearestNeighbors(metric="cosine", algorithm="brute").fit(features[data.train])
    votes = np.eye(n_classes)[targets[data.train]]
    truth = targets[data.validation]
    distances, rows = index.kneighbors(features[data.validation], tried[-1])
    scores = {}
    for k in tried:
        guesses = _vote_logits(distances[:, :k], votes[rows[:, :k]], votes.any(0)).argmax(1)
        scores[k] = float(f1_score(truth, guesses, labels=np.unique(truth), average="macro"))
    return NeighbourProbe(max(tried, key=scores.__getitem__), scores, index, votes)


def _vote_logits(distances: np.ndarray, votes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Log shares of votes from distances (N, k) and each neighbour's votes (N, k, C)."""
    similar = np.einsum("nk,nkc->nc", 1 + _TIE * (1 - distances), votes)
    share = similar / similar.sum(1, keepdims=True)
    logits = np.log(share, out=np.full(share.shape, UNSEEN), where=share > 0)
    return np.where(known, logits, ABSENT).astype(np.float32)
