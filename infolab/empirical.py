"""The empirical distribution of n points in the channel x_t = alpha x0 + sigma eps: mutual information, posterior
mean, score.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from infolab.device import has_float64, staged, to_double
from infolab.errors import UserError
from infolab.estimate import Estimate
from infolab.noise import derive, generator
from infolab.schedules import append_dims

# ----------
# Squared distances by matrix products, |x|^2 - 2 x.y + |y|^2, cancel where points are far out and close together.
#
# How many digits are left is known beforehand: the products are taken where that is enough, differences where it is
# not.

CENTRE_POINTS = 1001
"""The middle of a set is read from at most this many of its points."""


def product_rounding(d: int, dtype: torch.dtype = torch.float64) -> float:
    """Relative rounding error of a product of d terms, in units of the product of the norms.

    4 + sqrt(d) roundings: they have random signs and are summed in blocks (the bound without that is d).
    """
    return (4 + math.sqrt(d)) * torch.finfo(dtype).eps


def middle(points: Tensor) -> Tensor:
    """Median of each coordinate of points (..., n, d), (..., 1, d) float64: unlike the mean, no outlier moves it."""
    some = torch.linspace(0, points.shape[-2] - 1, min(points.shape[-2], CENTRE_POINTS), device=points.device).long()
    return points[..., some, :].double().median(-2, keepdim=True).values


def farthest(points: Tensor, centre: Tensor) -> Tensor:
    """An upper bound of |x - centre| over points (..., n, d), (...) float64: the corner of the box that holds them.

    Args:
        points: of any type.
        centre: (..., 1, d) or (d,).
    """
    points = points.detach()
    low, high = (end.double() for end in (points.amin(-2, keepdim=True), points.amax(-2, keepdim=True)))
    return torch.maximum(high - centre, centre - low).norm(dim=-1)[..., 0]


# ----------
# Logits of the empirical measure from differences of points, where matrix products would cancel.

ROUNDING = 1e-6
"""Nats that rounding may change a logit by; where it may be more, differences are taken."""
NEGLIGIBLE = 40.0
"""Nats below the largest logit at which a pair is left as it is: a share of 4e-18."""


def cancels(points: Tensor, centre: Tensor, ratio: float | Tensor) -> Tensor:
    """Whether rounding of products of centred points (..., n, d) may change a logit by more than `ROUNDING`, (...).

    Args:
        points: (..., n, d), of any type.
        centre: (..., 1, d) or (d,).
        ratio: alpha / sigma, (...).

    Raises:
        UserError: the squares of the points, times `ratio` = alpha / sigma, overflow.
    """
    d = points.shape[-1]
    far = farthest(points, centre) * ratio
    if not bool((far < 1e150).all()):
        raise UserError(
            f"points more than {float(far.max()):.3g} noise standard deviations apart, whose squares overflow: rescale "
            "them, or remove outliers"
        )
    # Two products of points, one with noise (6 deviations above its mean norm), two squared norms.
    return product_rounding(d) * (3 * far**2 + 2 * (math.sqrt(d) + 6) * far) > ROUNDING


def by_differences(x: Tensor, rows: Tensor, eps: Tensor, ratio: Tensor) -> Tensor:
    """Logits (k, rows, n) of `mutual_information_batch` from the differences of points, one coordinate at a time."""
    ratio = append_dims(ratio, x)
    logits = x.new_zeros(())
    for c in range(x.shape[-1]):
        apart = ratio * (x[:, rows, None, c] - x[:, None, :, c])
        logits = logits - apart * (apart / 2 + eps[:, :, None, c])
    return logits


def repair(
    logits: Tensor, doubtful: Tensor, points: Tensor, start: int, index: Tensor, eps: Tensor, ratio: float
) -> None:
    """Compute the doubtful entries of `logits` (points i times draws, columns from `start` on) from differences."""
    draws = eps.shape[1]
    by_point = doubtful.view(len(index), draws, -1).any(1)
    for i in torch.nonzero(by_point.any(1))[:, 0].tolist():
        columns = torch.nonzero(by_point[i])[:, 0]
        apart = ratio * (points[index[i]].double() - points[start + columns].double())
        exact = -(apart.square().sum(1) / 2 + eps[i] @ apart.T)
        rows = torch.arange(i * draws, (i + 1) * draws, device=logits.device)
        logits[rows[:, None], columns] = exact


def squares_of(noisy: Tensor, part: Tensor, centre: Tensor) -> Tensor:
    """-|x_t - alpha x_j|^2 / (2 sigma^2), one coordinate at a time; `noisy` is (x_t, alpha, sigma)."""
    alpha, sigma = noisy[..., -2, None], noisy[..., -1, None]
    squares = noisy.new_zeros(())
    for c in range(part.shape[-1]):
        squares = squares + ((noisy[..., c, None] - alpha * part[..., None, :, c]) / sigma).square()
    return -squares / 2


# ----------
# The empirical measure of n points in the Gaussian channel x_t = alpha x0 + sigma eps: mutual information and score.
#
# Everything is computed in float64 with centred data, by matrix products in blocks, so memory does not grow with n^2.
# Where the products would cancel (points far apart in units of sigma, or with outliers), the pairs that matter are
# taken as differences: copies of a point are at distance 0 at any scale.

ROWS = 1024  # rows (noisy points) that are compared with all points at a time
ELEMENTS = 1 << 23  # entries of a logit matrix held at once


def mutual_information(
    x: Tensor,
    alpha: float,
    sigma: float,
    *,
    outer: int | None = None,
    draws: int = 1,
    antithetic: bool = False,
    seed_or_generator: int | torch.Generator = 0,
    block: int = 2048,
    device: torch.device | str = "cpu",
) -> Estimate:
    """Estimate I(X; alpha X + sigma eps) of the empirical measure of n points, in nats, in [0, log n].

    I = E_i E_eps[-log 1/n sum_j exp(-(alpha^2 |x_i-x_j|^2 + 2 alpha sigma eps.(x_i-x_j)) / (2 sigma^2))]; minus the
    first term of the bound of Chen, Zhu, Shkurti (2025). The inner sum runs over all points. With y_i = alpha x_i +
    sigma eps_i the exponent is -|y_i - alpha x_j|^2 / (2 sigma^2) + |eps_i|^2 / 2: one matrix product; j = i gives
    exactly 0. Where its rounding may exceed `ROUNDING`, every pair whose exponent is not surely negligible is computed
    again from x_i - x_j. The noise is a function of (seed, i, draw), never of the block size.

    The standard error is that of the mean over i of the per-point means over draws. With two or more independent
    draws (pairs, if antithetic) the spread over noise is known: when all n points are used it is the only error, and
    with a subsample it is added to the spread over points times (1 - outer/n). With one draw the two spreads cannot be
    told apart and the standard error is sd / sqrt(points), too large rather than too small.

    Args:
        x: (n, ...) points, any real dtype, on any device.
        alpha: signal amplitude.
        sigma: noise standard deviation, > 0.
        outer: number of points i, drawn without replacement; all n if None.
        draws: noise draws per point.
        antithetic: draw eps in pairs (eps, -eps); draws must be even.
        seed_or_generator: seed of the noise and the subsample, or a generator from which one is drawn.
        block: points j per matrix product.
        device: where the products are taken; the CPU where it has no float64.

    Raises:
        UserError: a setting out of range, or points so far apart that the square of their distance overflows.
    """
    _check(x, sigma, outer, draws, antithetic, block)
    seed = seed_or_generator
    if isinstance(seed, torch.Generator):
        seed = int(torch.randint(2**62, (), generator=seed, device=seed.device))
    points = x.detach().to(device if has_float64(device) else "cpu").flatten(1)
    n, d = points.shape
    index = torch.arange(n)
    if outer is not None and outer < n:
        index = torch.randperm(n, generator=generator(seed, "mi", "outer"))[:outer].sort().values
    centre = _mean(points, block)
    careful = bool(cancels(points, centre, alpha / sigma))
    if careful:
        centre = middle(points)[0]
    per_tile = max(1, ROWS // draws)
    tiles = [
        _information(points, centre, tile, _noise(tile, d, draws, antithetic, seed), alpha, sigma, block, careful)
        for tile in index.split(per_tile)
    ]
    values = torch.cat(tiles).cpu()
    mean, se = _mean_and_se_of_points(values, n, antithetic)
    return Estimate(
        value=float(mean), se_data=float(se), estimand="mutual information of the empirical measure", n=n, d=d
    )


def mutual_information_batch(
    x: Tensor, alpha: Tensor, sigma: Tensor, draws: int, seeds: list[int], stream: str | int
) -> tuple[Tensor, Tensor]:
    """Estimate the mutual information of k small data sets at once, as `mutual_information` does for one.

    Differentiable in alpha and sigma. The noise of member k is a function of (seeds[k], stream) alone.

    Args:
        x: (k, n, d) points.
        alpha: (k,) signal amplitudes.
        sigma: (k,) noise standard deviations.
        draws: noise draws per point.
        seeds: k seeds.
        stream: names the noise (an epoch, say).

    Returns:
        values (k,) and standard errors (k,), float64, on the device of x (the CPU if it has no float64).

    Raises:
        UserError: shapes that do not fit, or points so far apart that the square of their distance overflows.
    """
    k, n, d = x.shape
    if not (len(seeds) == k and alpha.shape == sigma.shape == (k,)) or n < 2 or draws < 1:
        raise UserError(
            f"x {tuple(x.shape)}, alpha {tuple(alpha.shape)}, sigma {tuple(sigma.shape)}, {len(seeds)} seeds, "
            f"{draws} draws: expected (k, n, d) with n >= 2, (k,), (k,), k seeds and at least one draw"
        )
    x = to_double(x)
    alpha, sigma = alpha.to(x), sigma.to(x)
    centre = x.mean(1, keepdim=True)
    careful = cancels(x, centre, (alpha / sigma).detach())
    any_careful = bool(careful.any())
    given, x = x, x - centre
    eps = torch.stack(
        [torch.randn(draws, n, d, generator=generator(s, "mi", stream), dtype=torch.float64) for s in seeds]
    ).to(x.device)
    precision = append_dims((alpha / sigma) ** 2, x)
    bias = -precision.squeeze(-1) / 2 * (x * x).sum(-1)
    diagonal = torch.arange(n, device=x.device)
    values = []
    for draw in range(draws):
        weights = precision * x + append_dims(alpha / sigma, x) * eps[:, draw]
        own = (weights * x).sum(-1) + bias
        parts = []
        for rows in diagonal.split(max(1, ELEMENTS // (k * n))):
            logits = weights[:, rows] @ x.mT + bias[:, None] - own[:, rows, None]
            logits = torch.where(rows[:, None] == diagonal, 0.0, logits)
            if any_careful:
                direct = by_differences(given, rows, eps[:, draw, rows], alpha / sigma)
                logits = torch.where(careful[:, None, None], direct, logits)
            parts.append(math.log(n) - torch.logsumexp(logits, -1))
        values.append(torch.cat(parts, -1))
    return _mean_and_se_of_points(torch.stack(values, -1), n, antithetic=False)


def empirical_posterior_mean(x_t: Tensor, data: Tensor, alpha: Tensor, sigma: Tensor, block: int = 4096) -> Tensor:
    """Return E[x0 | x_t] when x0 is one of n equally likely points.

    sum_j softmax_j(-|x_t - alpha x_j|^2 / (2 sigma^2)) x_j, the optimal denoiser of the empirical measure.

    Args:
        x_t: (..., b, d) noisy points.
        data: (..., n, d) points, same leading (ensemble) dimensions or none.
        alpha: (..., b) signal amplitudes.
        sigma: (..., b) noise standard deviations.
        block: points j taken at a time at most.

    Returns:
        (..., b, d) float64.
    """
    x_t, alpha, sigma = (to_double(v) for v in (x_t, alpha, sigma))
    data = data if has_float64(data.device) else data.cpu()
    lead, n = math.prod(x_t.shape[:-2]), data.shape[-2]
    block = min(block, n)
    centre = sum(part.double().sum(-2, keepdim=True) for part in data.split(block, -2)) / n
    # The squared norm of a point rides along as one more coordinate, so that the logits are a single product.
    precision = (alpha / sigma**2)[..., None]
    noisy = x_t - alpha[..., None] * centre
    weights = torch.cat([precision * noisy, -precision * alpha[..., None] / 2], -1)
    rows = max(1, ELEMENTS // (lead * block))
    far = farthest(data, centre)[..., None]
    size = weights[..., :-1].norm(dim=-1) * far - weights[..., -1] * far**2
    if product_rounding(data.shape[-1]) * float(size.detach().max()) <= ROUNDING:
        return torch.cat([_softmax_mean(part, data, centre, block) for part in weights.split(rows, -2)], -2) + centre
    centre = middle(data)
    together = torch.cat([x_t, alpha[..., None], sigma[..., None]], -1).split(rows, -2)
    return torch.cat([_softmax_mean(part, data, centre, block, squares_of) for part in together], -2) + centre


def empirical_score(x_t: Tensor, data: Tensor, alpha: Tensor, sigma: Tensor, block: int = 4096) -> Tensor:
    """Return grad log p(x_t) of the noised empirical measure 1/n sum_j N(alpha x_j, sigma^2 I).

    (alpha E[x0 | x_t] - x_t) / sigma^2, the exact target of explicit score matching on the training set; shapes as in
    `empirical_posterior_mean`. Float64 inside, returned in the dtype and on the device of x_t.
    """
    mean = empirical_posterior_mean(x_t, data, alpha, sigma, block)
    x, a, s = (to_double(v) for v in (x_t, alpha, sigma))
    return ((a[..., None] * mean - x) / s[..., None] ** 2).to(x_t)


def _check(x: Tensor, sigma: float, outer: int | None, draws: int, antithetic: bool, block: int) -> None:
    if x.ndim < 2 or len(x) < 2:
        raise UserError(f"x has shape {tuple(x.shape)}: expected at least two points, (n, ...)")
    if not 0 < sigma < math.inf:
        raise UserError(f"sigma={sigma}: expected a finite number above 0")
    if outer is not None and outer < 2:
        raise UserError(f"outer={outer}: expected at least 2 points, or none to use all")
    if draws < 1 or (antithetic and draws % 2):
        raise UserError(f"draws={draws}: expected at least 1, and an even number of antithetic draws")
    if block < 1:
        raise UserError(f"block={block}: expected at least 1")


def _mean(points: Tensor, block: int) -> Tensor:
    """Mean over the first dimension in float64, converting one block at a time."""
    total = torch.zeros(points.shape[1], dtype=torch.float64, device=points.device)
    for part in points.split(block):
        total += part.double().sum(0)
    return total / len(points)


def _noise(index: Tensor, d: int, draws: int, antithetic: bool, seed: int) -> Tensor:
    """Standard normal noise (len(index), draws, d), each row from the stream of its point and draw (or pair)."""
    source, independent = torch.Generator(), draws // 2 if antithetic else draws
    eps = torch.empty(len(index), independent, d, dtype=torch.float64)
    for row, i in zip(eps, index.tolist(), strict=True):
        for draw in range(independent):
            torch.randn(d, generator=source.manual_seed(derive(seed, "mi", i, draw)), out=row[draw])
    return torch.stack([eps, -eps], 2).flatten(1, 2) if antithetic else eps


def _information(
    points: Tensor, centre: Tensor, index: Tensor, eps: Tensor, alpha: float, sigma: float, block: int, careful: bool
) -> Tensor:
    """Return -log 1/n sum_j exp(...) for each point in index and each draw of eps, (len(index), draws).

    `careful`: rounding may matter; it is bounded for each pair by that of its products.
    """
    n, d = points.shape
    draws = eps.shape[1]
    index, eps = staged(points.device, index, eps)
    precision = (alpha / sigma) ** 2
    own_points = (points[index].double() - centre)[:, None]
    weights = (precision * own_points + (alpha / sigma) * eps).flatten(0, 1)
    own = (weights.view(-1, draws, d) * own_points).sum(-1).flatten()
    own -= (precision / 2 * (own_points**2).sum(-1)).expand(-1, draws).flatten()
    row_index = index.repeat_interleave(draws)
    level = torch.zeros_like(own) if careful else own  # the logit of j = i, which exact ones are counted from
    top = torch.full_like(own, -math.inf)
    total = torch.zeros_like(own)
    logits = own.new_empty(len(weights), min(block, n))
    for start in range(0, n, block):
        inner = points[start : start + block].double() - centre
        part = logits[:, : len(inner)]
        torch.mm(weights, inner.T, out=part)
        squares = (inner * inner).sum(1)
        part -= precision / 2 * squares
        here = torch.nonzero((row_index >= start) & (row_index < start + len(inner))).squeeze(1)
        part[here, row_index[here] - start] = own[here]
        if careful:
            part -= own[:, None]
            own_squares = own_points.square().sum(-1).expand(-1, draws).flatten()[:, None]
            error = weights.norm(dim=1, keepdim=True) * (own_squares.sqrt() + squares.sqrt())
            error = product_rounding(d) * (error + precision / 2 * (own_squares + squares))
            doubtful = (error > ROUNDING) & (part > -NEGLIGIBLE - error)
            repair(part, doubtful, points, start, index, eps, alpha / sigma)
        new_top = torch.maximum(top, part.amax(1))
        total *= torch.exp(top - new_top)
        total += part.sub_(new_top[:, None]).exp_().sum(1)
        top = new_top
    return (math.log(n) - (torch.log(total) + top - level)).view(len(index), draws)


def _mean_and_se_of_points(values: Tensor, n: int, antithetic: bool) -> tuple[Tensor, Tensor]:
    """Return mean and standard error over points of values (..., m, draws), m of n points taken (see above).

    Var = (1 - m/n) S^2/m + N^2/n, S^2 the variance of the per-point means (spread of points plus noise), N^2 its noise.
    """
    m = values.shape[-2]
    means = values.mean(-1)
    spread = means.detach().var(-1)
    units = values.detach()
    if antithetic:
        units = units.unflatten(-1, (-1, 2)).mean(-1)
    if units.shape[-1] < 2:
        return means.mean(-1), (spread / m).sqrt()
    noise = units.var(-1).mean(-1) / units.shape[-1]
    return means.mean(-1), ((1 - m / n) * spread / m + noise / n).sqrt()


def _products(weights: Tensor, part: Tensor, centre: Tensor) -> Tensor:
    """weights . (c_j, |c_j|^2) of centred points c_j = x_j - centre."""
    centred = part - centre
    return weights @ torch.cat([centred, (centred * centred).sum(-1, keepdim=True)], -1).mT


def _softmax_mean(
    rows: Tensor,
    data: Tensor,
    centre: Tensor,
    block: int,
    logits_of: Callable[[Tensor, Tensor, Tensor], Tensor] = _products,
) -> Tensor:
    """Return sum_j softmax_j(logits) c_j of centred points c_j = x_j - centre, over blocks of j."""
    top = torch.full((*rows.shape[:-1], 1), -math.inf, dtype=rows.dtype, device=rows.device)
    total = torch.zeros_like(top)
    mean = torch.zeros(1, dtype=rows.dtype, device=rows.device)
    for part in data.split(block, -2):
        part = part.double()
        centred = part - centre
        logits = logits_of(rows, part, centre)
        new_top = torch.maximum(top, logits.amax(-1, keepdim=True))
        shrink = torch.exp(top - new_top)
        mass = torch.exp(logits - new_top)
        total = total * shrink + mass.sum(-1, keepdim=True)
        mean = mean * shrink + mass @ centred
        top = new_top
    return mean / total
