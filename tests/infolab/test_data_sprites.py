"""Sprites: rendering against areas and symmetries known in closed form, and the fixed split."""

import math

import pytest
import torch

from infolab.data import load
from infolab.data.builtin import FACTOR_NAMES, FACTOR_SIZES, index_to_factors, render
from infolab.errors import UserError


def mass(images: torch.Tensor) -> torch.Tensor:
    """White area of each image in pixels."""
    return images.double().sum((1, 2, 3)) / 255


def grid(shape: int, scale: int, orientation: int) -> torch.Tensor:
    xs = torch.cartesian_prod(torch.tensor([0, 7, 20, 31]), torch.tensor([0, 13, 31]))
    return torch.cat([torch.tensor([[shape, scale, orientation]]).expand(len(xs), 3), xs], 1)


# With circumradius r: square of side r sqrt 2; ellipse of half axes r, r/2; heart of half side a = r/2, a square of
# side 2a and two half discs of radius a.
AREAS = [lambda r: 2 * r**2, lambda r: math.pi * r**2 / 2, lambda r: (4 + math.pi) * (r / 2) ** 2]


@pytest.mark.parametrize("shape", range(3))
@pytest.mark.parametrize(("scale", "radius"), [(0, 4.0), (5, 8.0)])
@pytest.mark.parametrize("orientation", [0, 3, 17])
def test_areas_are_those_of_the_shapes_wherever_they_lie(shape, scale, radius, orientation):
    areas = mass(render(grid(shape, scale, orientation)))
    # Coverage linear in the distance is exact along edges and off by up to half a pixel at each of four corners.
    assert float((areas - AREAS[shape](radius)).abs().max()) < 2.0


@pytest.mark.parametrize("shape", range(3))
def test_centre_of_mass_moves_with_the_position_factors(shape):
    factors = grid(shape, 3, 11)
    images = render(factors)[:, 0].double()
    pixel = torch.arange(32) + 0.5
    total = images.sum((1, 2))
    x, y = (images.sum(1) * pixel).sum(1) / total, (images.sum(2) * pixel).sum(1) / total
    expected = 8 + 16 * factors[:, 3:].double() / 31
    offset = torch.stack([x, y], 1) - expected
    assert float((offset - offset.mean(0)).abs().max()) < 0.05
    if shape < 2:  # point-symmetric shapes have their centre of mass at the centre
        assert float(offset.abs().max()) < 0.05


def test_quarter_turns_rotate_the_image():
    # Position 15.5 of 31 would be the exact middle; the four corners of the position grid map to each other instead.
    for shape in range(3):
        first = render(torch.tensor([[shape, 4, 6, 0, 0]]))
        turned = render(torch.tensor([[shape, 4, 16, 0, 31]]))
        assert int((first.rot90(1, (2, 3)).int() - turned.int()).abs().max()) <= 1


def test_heart_has_no_rotational_symmetry_and_square_and_ellipse_do():
    factors = torch.tensor([[[s, 5, o, 10, 10] for o in (0, 10, 20)] for s in range(3)])
    images = render(factors.view(-1, 5)).view(3, 3, -1).int()
    square, ellipse, heart = ((image - image[0]).abs().amax(1).tolist() for image in images)
    assert max(square) <= 1
    assert ellipse[1] > 200
    assert ellipse[2] <= 1
    assert min(heart[1:]) > 200


def test_any_subset_is_drawn_as_in_the_whole():
    factors = index_to_factors(torch.arange(0, 737_280, 50_021))
    together = render(factors)
    assert torch.equal(together[[3, 11]], render(factors[[3, 11]]))


def test_numbering_covers_the_grid():
    indices = torch.randint(0, math.prod(FACTOR_SIZES), (100,), generator=torch.Generator().manual_seed(0))
    stride = torch.tensor([math.prod(FACTOR_SIZES[i + 1 :]) for i in range(5)])
    assert torch.equal((index_to_factors(indices) * stride).sum(1), indices)


def test_splits_are_disjoint_and_reproduce_from_their_factors():
    train, test = load("sprites"), load("sprites", "test")
    assert (len(train), len(test)) == (20_000, 4_000)
    assert train.factor_names == FACTOR_NAMES
    rows = {tuple(f) for f in train.factors.tolist()} | {tuple(f) for f in test.factors.tolist()}
    assert len(rows) == 24_000
    assert torch.equal(render(test.factors[:50]), test.images[:50])
    for column, size in enumerate(FACTOR_SIZES):
        counts = train.factors[:, column].bincount(minlength=size).double()
        expected = 20_000 / size
        assert float((counts - expected).abs().max()) < 5 * math.sqrt(expected)


def test_factors_off_the_grid_are_refused():
    for bad in ([[3, 0, 0, 0, 0]], [[0, 0, 40, 0, 0]], [[0, -1, 0, 0, 0]], [[0, 0, 0, 0]]):
        with pytest.raises(UserError, match="grid"):
            render(torch.tensor(bad))
