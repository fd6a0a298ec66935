"""The error of a mean memorization score, from what the networks of its repeats say of each other."""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import logsumexp


@dataclass(frozen=True)
class MeanError:
    """Standard error of a mean score.

    Attributes:
        se: standard error over `over`, nats; NaN for a single image.
        df: degrees of freedom of its square.
        over: "images and networks"; "images" where the networks' share cannot be told, so that they count as fixed.
    """

    se: float
    df: float
    over: str

    @property
    def half(self) -> float:
        """Half-width of the 95% interval, Student's t."""
        return float(self.se * stats.t.ppf(0.975, self.df))

    def __str__(self) -> str:
        """`0.01`, or `0.01 (over images only)`."""
        return f"{self.se:.2g}" + ("" if self.over == IMAGES_AND_NETWORKS else " (over images only)")


IMAGES_AND_NETWORKS, IMAGES = "images and networks", "images"


def over_images(scores: np.ndarray) -> MeanError:
    """s / sqrt(n) of n scores: the networks as they are."""
    n = len(scores)
    return MeanError(float(np.std(scores, ddof=1) / n**0.5) if n > 1 else float("nan"), max(n - 1, 1), IMAGES)


class MeanErrors:
    """The error of the mean score of n images under L repeats of a partition into K folds, one repeat at a time.

    A network that is better than the others raises log p(x) of all images, on the outside in its fold and inside
    elsewhere: that cancels in the mean of a repeat, T_r, but in no sum over the images of a fold. So a fold is left out
    with its images and its network at once: T_r(-k) is the mean score of the images outside of fold k, by the other
    K - 1 networks, and any level that a network has cancels in it too. The delete-a-group jackknife

        v_r = (K - 1)/K sum_k (T_r(-k) - mean)^2

    is the variance of T_r over images and networks. The images are the same in every repeat: with A the share of what
    they have in common (the mean covariance over images of their scores in two repeats, over n), and R that of the
    networks and folds, estimated by s^2, the variance of T_r over repeats, with L - 1 degrees of freedom, and by the
    mean of v_r - A, with L (K - 1), each weighted by its own,

        Var = A + R / L,

    for L = 1 just v_1. Degrees of freedom are Satterthwaite's. With K = 2 nothing is left to be scored without a fold:
    then R is s^2 alone, and with one repeat the error is that over images, and says so. Where levels lie a nat apart
    the log of a mean follows the best networks: T_r is skewed, and 95% intervals of one repeat then cover 87% or so,
    while the score of several repeats together varies less than the mean of T_r, and is covered more often.

    Args:
        n: number of images, at least 2.
        epochs: leading dimension of log p(x), E.
    """

    def __init__(self, n: int, epochs: int = 1):
        self.n = n
        self._sum, self._within = np.zeros((epochs, n)), np.zeros(epochs)
        self._means: list[np.ndarray] = []
        self._jackknifed: list[np.ndarray] = []
        self._freedom = 0.0

    def add(self, logpx: np.ndarray, fold: np.ndarray) -> None:
        """Add one repeat.

        Args:
            logpx: log p(x_i) of every image under every network of the repeat, (K, E, n), nats.
            fold: the network, 0 .. K - 1, that never saw the image (n,).
        """
        K, image = len(logpx), np.arange(self.n)
        inside = np.array(logpx, dtype=np.float64)
        outside = inside[fold, :, image].T
        inside[fold, :, image] = -np.inf
        scores = logsumexp(inside, axis=0) - np.log(K - 1) - outside
        self._sum += scores
        self._within += scores.var(1, ddof=1)
        self._means.append(scores.mean(1))
        if K == 2:
            return
        without = _sums_without_one(inside)
        left = [
            (without[k][:, fold != k] - np.log(K - 2) - outside[:, fold != k]).mean(1) for k in range(K)
        ]  # fmt: skip
        self._jackknifed.append((K - 1) * np.var(left, axis=0))
        self._freedom += K - 1

    def found(self) -> list[MeanError]:
        """The error of the mean over what was added, at each epoch."""
        L = len(self._means)
        if not self._jackknifed and L == 1:
            return [over_images(row) for row in self._sum]
        jackknifed = np.mean(self._jackknifed, axis=0) if self._jackknifed else np.zeros(len(self._sum))
        if L == 1:
            return [MeanError(float(v) ** 0.5, self._freedom, IMAGES_AND_NETWORKS) for v in jackknifed]
        # sum_{r != s} cov(M_r, M_s) over images, from the variance of the sum less those of the repeats.
        common = (self._sum.var(1, ddof=1) - self._within) / (L * (L - 1))
        images = np.maximum(common, 0.0) / self.n
        spread = np.var(self._means, axis=0, ddof=1)
        freedom = self._freedom + L - 1
        networks = ((L - 1) * spread + self._freedom * np.maximum(jackknifed - images, 0.0)) / freedom / L
        variance = images + networks
        with np.errstate(divide="ignore", invalid="ignore"):
            df = np.square(variance) / (np.square(images) / (self.n - 1) + np.square(networks) / freedom)
        df = np.where(np.isfinite(df), df, freedom)
        return [MeanError(float(v) ** 0.5, float(d), IMAGES_AND_NETWORKS) for v, d in zip(variance, df, strict=True)]


def _sums_without_one(logs: np.ndarray) -> np.ndarray:
    """log sum_{j != k} exp(logs_j) for each k of the first axis, of the same shape."""
    nothing = np.full_like(logs[:1], -np.inf)
    before = np.concatenate([nothing, np.logaddexp.accumulate(logs[:-1])])
    after = np.concatenate([np.logaddexp.accumulate(logs[:0:-1])[::-1], nothing])
    return np.logaddexp(before, after)
