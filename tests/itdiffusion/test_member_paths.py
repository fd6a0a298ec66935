"""Which path and which member `RUN@1` names."""

from infolab.pretrained import split_member


def test_an_at_sign_in_a_path_is_part_of_it(tmp_path):
    place = tmp_path / "me@lab" / "runs"
    place.mkdir(parents=True)
    assert split_member(place) == (place, "")
    assert split_member(f"{place}@1") == (place, "1")
    assert split_member(tmp_path / "gone@lab") == (tmp_path / "gone@lab", "")
    odd = tmp_path / "run@2"
    odd.mkdir()
    assert split_member(odd) == (odd, "")
    assert split_member(f"{odd}@0") == (odd, "0")
