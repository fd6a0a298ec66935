"""Discrete samplers with the exact eps of a Gaussian: affine maps, so moments follow a recursion of plain numbers."""

import math

import pytest
import torch

from infolab import sample
from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.mixture import GaussianMixture
from infolab.sample import SampleNoise, ddim, ddpm, grid, invert, latent, two_phase
from infolab.schedules import DDPM

SCHEDULE = DDPM.linear(1000, 1e-5, 1e-2)
DOUBLE = torch.float64
MEAN, VARIANCE = 0.7, 0.36


def gaussian_eps(x, step, variance=VARIANCE, mean=MEAN):
    """E[eps | x_t] for x0 ~ N(mean, variance), coordinate by coordinate."""
    abar = SCHEDULE.abar[step].to(x).reshape(-1, *[1] * (x.ndim - 1))
    return (1 - abar).sqrt() * (x - abar.sqrt() * mean) / (abar * variance + 1 - abar)


GAUSSIAN = Denoiser.of_steps(gaussian_eps, SCHEDULE)


def exact_start(n, seed=0, variance=VARIANCE, mean=MEAN):
    abar = float(SCHEDULE.abar[-1])
    z = torch.randn(n, 1, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    return math.sqrt(abar) * mean + math.sqrt(abar * variance + 1 - abar) * z


def recursion(steps, eta=0.0, variance=VARIANCE, large=False):
    """(mean, variance) of the sampler's law from the exact p_T, written down from the published update alone."""
    abar = [*SCHEDULE.abar.tolist()]
    visited = [round(1000 * k / steps) - 1 for k in range(steps, 0, -1)]
    here = abar[visited[0]]
    m, v = math.sqrt(here) * MEAN, here * variance + 1 - here
    for step, after in zip(visited, [*visited[1:], None], strict=True):
        A, B = abar[step], 1.0 if after is None else abar[after]
        spread2 = eta**2 * (1 - B) / (1 - A) * (1 - A / B)
        gain = math.sqrt(1 - A) / (A * variance + 1 - A)  # eps_hat = gain (x - sqrt(A) mean)
        on_eps = math.sqrt(1 - B - spread2) - math.sqrt(B / A) * math.sqrt(1 - A)
        factor = math.sqrt(B / A) + on_eps * gain
        fresh = (1 - A / B) * (after is not None) if large else spread2
        m, v = factor * m - on_eps * gain * math.sqrt(A) * MEAN, factor**2 * v + fresh
    return m, v


def within_four_errors(x, mean, variance):
    n = x.numel()
    assert abs(float(x.mean()) - mean) < 4 * math.sqrt(variance / n)
    assert abs(float(x.var()) - variance) < 4 * variance * math.sqrt(2 / (n - 1))


def test_the_grid_starts_at_the_last_step_and_descends():
    for steps in (1, 3, 10, 50, 999, 1000):
        visited = grid(SCHEDULE, steps)
        assert len(visited) == len(set(visited)) == steps
        assert visited[0] == 999
        assert visited == sorted(visited, reverse=True)
        assert min(visited) >= 0
    assert grid(SCHEDULE, 1000) == list(range(999, -1, -1))
    for bad in (0, 1001, -3):
        with pytest.raises(UserError, match=r"expected 1 \.\. 1000"):
            grid(SCHEDULE, bad)


@pytest.mark.parametrize("steps", [1, 2, 7, 10, 50, 1000])
@pytest.mark.parametrize("clip", [False, True])
def test_the_eps_that_made_z_gives_back_its_x0_in_any_number_of_steps(steps, clip):
    x0 = torch.rand(5, 3, 2, generator=torch.Generator().manual_seed(0), dtype=DOUBLE) * 2 - 1
    eps = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    abar = float(SCHEDULE.abar[-1])
    found = ddim(
        Denoiser.of_steps(lambda x, step: eps, SCHEDULE),
        SCHEDULE,
        math.sqrt(abar) * x0 + math.sqrt(1 - abar) * eps,
        steps,
        clip=clip,
    )
    torch.testing.assert_close(found, x0, rtol=0, atol=1e-11)


@pytest.mark.parametrize("steps", [10, 50, 1000])
def test_ddim_is_the_affine_map_of_its_own_recursion(steps):
    x_T = exact_start(50)
    abar = float(SCHEDULE.abar[-1])
    z = (x_T - math.sqrt(abar) * MEAN) / math.sqrt(abar * VARIANCE + 1 - abar)
    mean, variance = recursion(steps)
    torch.testing.assert_close(
        ddim(GAUSSIAN, SCHEDULE, x_T, steps), mean + math.sqrt(variance) * z, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize(("steps", "eta"), [(10, 0.01), (10, 1.0), (50, 0.5), (50, 1.0)])
def test_ddim_with_noise_has_the_moments_of_its_recursion(steps, eta):
    n = 20_000
    x = ddim(GAUSSIAN, SCHEDULE, exact_start(n), steps, eta, SampleNoise(1, "test", n, (1,)))
    within_four_errors(x, *recursion(steps, eta))


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm_has_the_moments_of_its_recursion(variance):
    n = 4_000
    x = ddpm(GAUSSIAN, SCHEDULE, exact_start(n), SampleNoise(2, "test", n, (1,)), variance)
    within_four_errors(x, *recursion(1000, eta=1.0, large=variance == "large"))


def test_the_recursions_tend_to_the_data():
    # Variance error of DDIM on unit data: about a quarter, a twentieth and 0.3%.
    errors = {steps: 1 - recursion(steps, variance=1.0)[1] for steps in (10, 50, 1000)}
    assert 0.20 < errors[10] < 0.26
    assert 0.045 < errors[50] < 0.055
    assert 0.002 < errors[1000] < 0.003
    for eta, large in ((1.0, False), (1.0, True)):
        assert recursion(1000, eta, large=large)[1] == pytest.approx(VARIANCE, rel=0.02)
        assert recursion(1000, eta, large=large)[0] == pytest.approx(MEAN, rel=0.01)


def test_a_mixture_comes_out_with_its_weights_means_and_variances():
    law = GaussianMixture(torch.tensor([0.3, 0.7]), torch.tensor([[-2.0, 0.0], [1.0, 1.0]]), 0.04)

    def eps_hat(x, step):
        return law.eps_hat(x, SCHEDULE.logsnr[step])

    n = 4_000
    abar = float(SCHEDULE.abar[-1])
    x_T = law.noised(math.sqrt(abar), math.sqrt(1 - abar)).sample(n, torch.Generator().manual_seed(0))
    x = ddim(Denoiser.of_steps(eps_hat, SCHEDULE), SCHEDULE, x_T, 200)
    right = x[:, 0] > -0.5
    assert abs(float(right.double().mean()) - 0.7) < 4 * math.sqrt(0.21 / n) + 0.01
    error = 4 * 0.2 / math.sqrt(0.3 * n) + 0.02
    assert float((x[right].mean(0) - torch.tensor([1.0, 1.0])).abs().max()) < error
    assert float((x[~right].mean(0) - torch.tensor([-2.0, 0.0])).abs().max()) < error
    assert float((x[right].var(0) / 0.04 - 1).abs().max()) < 0.25  # 200 steps: the scheme's own error is 14% here


def test_ddpm_is_ddim_with_eta_one_over_all_steps():
    noise = SampleNoise(3, "test", 6, (2,))
    x_T = noise.start().double()
    one = ddpm(GAUSSIAN, SCHEDULE, x_T, noise)
    torch.testing.assert_close(ddim(GAUSSIAN, SCHEDULE, x_T, 1000, 1.0, noise), one, rtol=1e-12, atol=1e-12)


def test_clipping_keeps_samples_in_range_and_leaves_what_is_there():
    x_T = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    wild = ddim(Denoiser.of_steps(lambda x, step: -3 * x, SCHEDULE), SCHEDULE, x_T, 20, clip=True)
    assert float(wild.abs().max()) <= 1
    assert float(ddim(Denoiser.of_steps(lambda x, step: -3 * x, SCHEDULE), SCHEDULE, x_T, 20).abs().max()) > 1
    narrow = lambda x, step: gaussian_eps(x, step, variance=1e-4, mean=0.2)  # noqa: E731
    torch.testing.assert_close(
        ddim(Denoiser.of_steps(narrow, SCHEDULE), SCHEDULE, x_T, 20, clip=True),
        ddim(Denoiser.of_steps(narrow, SCHEDULE), SCHEDULE, x_T, 20),
        rtol=1e-9,
        atol=1e-9,
    )


def inversion_error(steps, rule):
    source = torch.Generator().manual_seed(5)
    x0 = MEAN + math.sqrt(VARIANCE) * torch.randn(200, 3, generator=source, dtype=DOUBLE)
    x_T = invert(GAUSSIAN, SCHEDULE, x0, steps, rule)
    back = ddim(GAUSSIAN, SCHEDULE, x_T, steps)
    return float((back - x0).norm() / x0.norm()), x_T


@pytest.mark.parametrize(("rule", "order", "at_1000"), [("published", 1, 3e-3), ("predicted", 2, 1e-5)])
def test_inversion_then_sampling_returns_x_with_an_error_that_falls_with_the_steps(rule, order, at_1000):
    errors = {steps: inversion_error(steps, rule)[0] for steps in (125, 250, 500)}
    for steps in (125, 250):
        assert 0.9 < math.log2(errors[steps] / errors[2 * steps]) / order < 1.15
    last, x_T = inversion_error(1000, rule)
    assert last < at_1000
    abar = float(SCHEDULE.abar[-1])
    within_four_errors(x_T, math.sqrt(abar) * MEAN, abar * VARIANCE + 1 - abar)


def test_inversion_of_a_mixture_and_an_unknown_rule():
    law = GaussianMixture(torch.ones(2), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), 0.09)
    x0 = law.sample(100, torch.Generator().manual_seed(1))
    model = lambda x, step: law.eps_hat(x, SCHEDULE.logsnr[step])  # noqa: E731
    back = ddim(
        Denoiser.of_steps(model, SCHEDULE), SCHEDULE, invert(Denoiser.of_steps(model, SCHEDULE), SCHEDULE, x0, 500), 500
    )
    assert float((back - x0).norm() / x0.norm()) < 2e-3
    with pytest.raises(UserError, match="rule"):
        invert(Denoiser.of_steps(model, SCHEDULE), SCHEDULE, x0, 10, "other")


class Counted:
    """A linear network that needs its code, and remembers how it was asked."""

    def __init__(self):
        self.steps, self.codes = [], []
        self.model = Denoiser.of_steps(self, SCHEDULE)

    def __call__(self, x, step, code=None):
        self.steps.append(int(step[0]))
        self.codes.append(code)
        assert bool((step == step[0]).all())
        assert step.dtype == torch.int64
        mean = torch.zeros(()) if code is None else code[:, :1]
        return gaussian_eps(x, step, mean=mean)


def test_inversion_passes_the_code_along():
    network = Counted()
    code = torch.tensor([[0.5], [-1.0]], dtype=DOUBLE)
    x0 = torch.tensor([[1.0], [0.0]], dtype=DOUBLE)
    x_T = invert(network.model.given(code), SCHEDULE, x0, 1000)
    assert len(network.steps) == 1000
    assert all(one is code for one in network.codes)
    right = ddim(network.model.given(code), SCHEDULE, x_T, 1000)
    wrong = ddim(network.model.given(code.flip(0)), SCHEDULE, x_T, 1000)
    assert float((right - x0).abs().max()) < 1e-4
    assert float((wrong - x0).abs().max()) > 0.5
    with pytest.raises(UserError, match="one code a sample"):
        network.model.given(code).eps_at_step(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64), SCHEDULE)


@pytest.mark.parametrize(
    ("split", "steps", "firsts"), [(500, 1000, 500), (500, 50, 25), (0, 10, 0), (1000, 10, 10), (10, 100, 1)]
)
def test_two_phases_switch_at_the_split(split, steps, firsts):
    first, second = Counted(), Counted()
    code = torch.zeros(2, 1, dtype=DOUBLE)
    two_phase(first.model, second.model.given(code), SCHEDULE, torch.zeros(2, 1, dtype=DOUBLE), split, steps)
    assert (len(first.steps), len(second.steps)) == (firsts, steps - firsts)
    assert first.steps + second.steps == grid(SCHEDULE, steps)
    assert all(step >= 1000 - split for step in first.steps)
    assert all(step < 1000 - split for step in second.steps)
    assert all(one is None for one in first.codes)
    assert all(one is code for one in second.codes)


def test_two_phases_of_one_model_are_ddim():
    noise = SampleNoise(4, "test", 3, (1,))
    x_T = noise.start().double()
    together = two_phase(GAUSSIAN, GAUSSIAN, SCHEDULE, x_T, 300, 40, 0.7, noise)
    torch.testing.assert_close(together, ddim(GAUSSIAN, SCHEDULE, x_T, 40, 0.7, noise), rtol=0, atol=0)
    with pytest.raises(UserError, match="split_step = 1001"):
        two_phase(GAUSSIAN, GAUSSIAN, SCHEDULE, x_T, 1001, 40)


def test_latent_sampling_draws_a_code_and_hands_it_on():
    n, centre, scale = 3_000, torch.tensor([2.0, -1.0], dtype=DOUBLE), torch.tensor([3.0, 0.5], dtype=DOUBLE)
    source = torch.Generator().manual_seed(7)
    a_T = torch.randn(n, 2, generator=source, dtype=DOUBLE)
    network = Counted()
    code_model = Denoiser.of_steps(lambda a, step: gaussian_eps(a, step, variance=1.0, mean=0.0), SCHEDULE)
    x, code = latent(
        code_model, network.model, SCHEDULE, a_T, torch.zeros(n, 1, dtype=DOUBLE), centre=centre, scale=scale, steps=20
    )
    spread = scale * math.sqrt(recursion(1000, variance=1.0)[1])
    assert bool(((code.mean(0) - centre).abs() < 4 * spread / math.sqrt(n)).all())
    assert bool(((code.std(0) / spread - 1).abs() < 4 / math.sqrt(2 * n)).all())
    assert network.steps == grid(SCHEDULE, 20)
    assert all(one is code for one in network.codes)
    torch.testing.assert_close(x, ddim(network.model.given(code), SCHEDULE, torch.zeros(n, 1, dtype=DOUBLE), 20))


@pytest.mark.parametrize("eta", [-0.1, 1.5, math.nan])
def test_eta_outside_its_range_and_missing_noise_are_refused(eta):
    with pytest.raises(UserError, match="eta"):
        ddim(GAUSSIAN, SCHEDULE, torch.zeros(1, 1), 5, eta, SampleNoise(0, "test", 1, (1,)))
    with pytest.raises(UserError, match="draws noise"):
        ddim(GAUSSIAN, SCHEDULE, torch.zeros(1, 1), 5, 0.5)
    with pytest.raises(UserError, match="variance"):
        ddpm(GAUSSIAN, SCHEDULE, torch.zeros(1, 1), SampleNoise(0, "test", 1, (1,)), "huge")


@pytest.mark.bits
def test_sample_noise_does_not_depend_on_the_batch_and_is_fresh():
    whole = SampleNoise(0, "a", 100, (2, 3))
    for first, n in ((0, 1), (15, 2), (16, 16), (30, 70)):
        part = SampleNoise(0, "a", n, (2, 3), first)
        assert torch.equal(part.start(), whole.start()[first : first + n])
        for jump in (0, 9, 3):
            assert torch.equal(part(jump), whole(jump)[first : first + n])
    drawn = torch.stack([whole(jump) for jump in range(40)] + [whole.start(), SampleNoise(1, "a", 100, (2, 3))(0)])
    count = drawn.numel()
    assert abs(float(drawn.mean())) < 4 / math.sqrt(count)
    assert abs(float(drawn.square().mean()) - 1) < 4 * math.sqrt(2 / count)
    assert abs(float((drawn[1:] * drawn[:-1]).mean())) < 4 / math.sqrt(count)
    assert abs(float((drawn[:, 16:] * drawn[:, :-16]).mean())) < 4 / math.sqrt(count)
    with pytest.raises(UserError, match="at least 1 sample"):
        SampleNoise(0, "a", 0, (1,))


def test_everything_promised_is_exported():
    assert all(hasattr(sample, name) for name in sample.__all__)
