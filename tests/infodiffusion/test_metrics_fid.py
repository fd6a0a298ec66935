"""FID against closed forms and with the errors it states; moments kept by name."""

import math

import numpy as np
import pytest
import torch
from gaussian_laws import draw, law
from scipy.linalg import sqrtm

from infolab.errors import UserError
from infolab.metrics import Features, as_features, fid, gaussian_fid, kid, load_moments, moments, save_moments
from infolab.metrics.distances import null_floor, null_moments
from infolab.noise import generator


def test_the_distance_of_gaussians_is_the_closed_form():
    (m1, S1), (m2, S2) = law(0), law(1)
    root = sqrtm(S1.numpy() @ S2.numpy()).real
    expected = float((m1 - m2).square().sum() + S1.trace() + S2.trace()) - 2 * np.trace(root)
    assert gaussian_fid(m1, S1, m2, S2) == pytest.approx(expected, rel=1e-10)
    assert gaussian_fid(m1, S1, m2, S2) == pytest.approx(gaussian_fid(m2, S2, m1, S1), rel=1e-10)
    assert gaussian_fid(m1, S1, m1, S1) == pytest.approx(0, abs=1e-12)
    # Commuting covariances: sum of squared differences of standard deviations; singular ones too.
    a, b = torch.tensor([4.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 9.0])
    found = gaussian_fid(torch.zeros(3), torch.diag(a), torch.zeros(3), torch.diag(b))
    assert found == pytest.approx(1 + 1 + 9, abs=1e-6)
    with pytest.raises(UserError, match="dimensions"):
        gaussian_fid(m1, S1, m2[:2], S2)


def test_fid_of_samples_is_the_closed_form_within_its_error():
    (m1, S1), (m2, S2) = law(0), law(1)
    truth, n = gaussian_fid(m1, S1, m2, S2), 4_000
    found = [fid(draw(m1, S1, n, 2 * seed), draw(m2, S2, n, 2 * seed + 1)) for seed in range(40)]
    values = torch.tensor([item.value for item in found])
    spread = float(values.std())
    assert abs(float(values.mean()) - truth) < 4 * spread / math.sqrt(40) + found[0].more["floor"]
    assert 0.75 < math.sqrt(sum(item.se**2 for item in found) / 40) / spread < 1.3
    # With moments of the reference alone its share of the error is that of a Gaussian, which it is here.
    whole, kept = fid(draw(m1, S1, n, 0), draw(m2, S2, n, 1)), fid(moments(draw(m1, S1, n, 0)), draw(m2, S2, n, 1))
    assert kept.value == pytest.approx(whole.value)
    assert kept.se == pytest.approx(whole.se, rel=0.1)


def test_two_samples_of_one_law_read_the_floor_with_its_spread():
    mean, cov = law(3)
    n1, n2 = 3_000, 2_100
    found = [fid(draw(mean, cov, n1, 2 * seed), draw(mean, cov, n2, 2 * seed + 1)) for seed in range(60)]
    values = torch.tensor([item.value for item in found])
    floor, variance = null_moments(cov, n1, n2)
    assert abs(float(values.mean()) - floor) < 4 * float(values.std()) / math.sqrt(60)
    assert found[0].more["floor"] == pytest.approx(floor, rel=0.1)
    assert 0.7 < math.sqrt(variance) / float(values.std()) < 1.4
    assert 0.75 < math.sqrt(sum(item.se**2 for item in found) / 60) / float(values.std()) < 1.3


def test_fid_of_few_examples_is_refused_unless_forced_and_names_kid():
    mean, cov = law(0)
    few, many = draw(mean, cov, 2_047, 0), draw(mean, cov, 2_048, 1)
    for real, generated in ((few, many), (many, few), (moments(few), many)):
        with pytest.raises(UserError, match="kid"):
            fid(real, generated)
        assert fid(real, generated, force=True).value > 0
    name = "fid[none,resize=none,ref=test,n=2048]"
    assert fid(many, many, reference="test").name == name
    with pytest.raises(UserError, match="same --features"):
        fid(Features(many.values, "inception-2015", "clean"), many)
    with pytest.raises(UserError, match="dimensions"):
        kid(many, Features(many.values[:, :2]))


@pytest.mark.bits
def test_moments_are_kept_by_name(tmp_path):
    sample = Features(draw(*law(0), 50, 0).values, "small-sprites", "none")
    kept = moments(sample, "test")
    np.testing.assert_allclose(kept.cov, np.cov(sample.values.numpy(), rowvar=False))
    save_moments(kept, tmp_path / "S.npz")
    back = load_moments(tmp_path / "S.npz")
    assert torch.equal(back.mean, kept.mean)
    assert torch.equal(back.cov, kept.cov)
    assert (back.n, back.extractor, back.resize, back.reference) == (50, "small-sprites", "none", "test")
    assert fid(back, sample, force=True).name == "fid[small-sprites,resize=none,ref=test,n=50]"
    # Files of other tools hold mu and sigma alone.
    np.savez(tmp_path / "other.npz", mu=kept.mean.numpy(), sigma=kept.cov.numpy())
    other = load_moments(tmp_path / "other.npz", "inception-2015", "clean")
    assert (other.n, other.extractor, other.resize, other.reference) == (0, "inception-2015", "clean", "other")
    np.savez(tmp_path / "bad.npz", mu=np.zeros(3))
    for name, message in (("bad.npz", "sigma"), ("none.npz", "there is no file")):
        with pytest.raises(UserError, match=message):
            load_moments(tmp_path / name)


@pytest.mark.parametrize("law", ["equal", "falling"])
def test_the_floor_of_an_estimated_covariance_is_that_of_the_true_one(law):
    d, n, draws = 64, 320, 24  # 5 examples a dimension: the sample's own eigenvalues alone would read 6 to 9% low
    values = torch.ones(d) if law == "equal" else 1 / torch.arange(1, d + 1)
    source = generator(0, "floor", law)
    x, y = (torch.randn(draws, n, d, generator=source).double() * values.double().sqrt() for _ in range(2))
    truth = null_moments(torch.diag(values), n, n)[0]
    floors = torch.tensor([null_floor(torch.cov(one.T), n, n) for one in x])
    plain = torch.tensor([null_moments(torch.cov(one.T), n, n)[0] for one in x])
    assert float(floors.mean()) == pytest.approx(truth, rel=0.02)
    assert float(plain.mean()) < 0.95 * truth
    read = torch.tensor([fid(as_features(a), as_features(b), force=True).value for a, b in zip(x, y, strict=True)])
    # The expansion itself leaves terms of order (d/n)^2.
    assert float(read.mean()) == pytest.approx(truth, rel=0.03 + 4 * float(read.std() / read.mean()) / draws**0.5)


def test_a_floor_is_there_where_the_covariance_has_no_full_rank():
    x = torch.randn(20, 50, generator=generator(0, "rank")).double()
    assert 0 < null_floor(torch.cov(x.T), 20, 20) < math.inf


@pytest.mark.parametrize(
    ("mu", "sigma"),
    [
        (np.full(2, np.nan), np.eye(2)),
        (np.zeros(2), -np.eye(2)),
        (np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]])),
        (np.zeros(2), np.full((2, 2), np.inf)),
        (np.zeros(0), np.zeros((0, 0))),
    ],
)
def test_statistics_that_no_sample_has_are_refused(tmp_path, mu, sigma):
    np.savez(tmp_path / "S.npz", mu=mu, sigma=sigma)
    with pytest.raises(UserError, match="a covariance sigma"):
        load_moments(tmp_path / "S.npz")
