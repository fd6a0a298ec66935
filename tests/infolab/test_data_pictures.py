"""Pixels are what the file says: 8 and 16 bits, colour and grey, links and hidden folders, damage in one sentence."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from infolab.data import folders
from infolab.data.folders import load_folder, load_resized, pictures_in, read_picture
from infolab.errors import UserError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_a_ramp_of_16_bits_is_the_ramp_of_8(tmp_path):
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "a_1.png")
    assert np.array_equal(np.asarray(read_picture(tmp_path / "a_1.png")), RAMP)
    assert np.array_equal(load_folder(tmp_path, "train").images[0, 0].numpy(), RAMP)
    assert np.array_equal(load_resized(tmp_path, "x", "train", 16, 1).images[0, 0].numpy(), RAMP)


def test_grey_colour_palette_and_transparency(tmp_path):
    colour = np.stack([RAMP, RAMP.T, 255 - RAMP], -1)
    for name, image in {
        "grey": Image.fromarray(RAMP),
        "bits": Image.fromarray(RAMP > 100),
        "alpha": Image.fromarray(np.dstack([RAMP, RAMP]), "LA"),
        "colour": Image.fromarray(colour),
        "clear": Image.fromarray(np.dstack([colour, RAMP]), "RGBA"),
    }.items():
        image.save(tmp_path / f"{name}.png")
    found = {path.stem: np.asarray(read_picture(path)) for path in pictures_in(tmp_path, below=False)}
    assert np.array_equal(found["grey"], RAMP)
    assert np.array_equal(found["alpha"], RAMP)
    assert np.array_equal(found["bits"], np.where(RAMP > 100, 255, 0))
    assert np.array_equal(found["colour"], colour)
    assert np.array_equal(found["clear"], colour)


def test_links_to_folders_count_and_hidden_ones_do_not(tmp_path):
    folder, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    for place in (folder / "cats", folder / ".ipynb_checkpoints", folder / "cats" / ".hidden", elsewhere):
        place.mkdir(parents=True)
        Image.fromarray(RAMP).save(place / "1.png")
    Image.fromarray(RAMP).save(folder / "cats" / "._2.png")  # what macOS leaves
    (folder / "dogs").symlink_to(elsewhere, target_is_directory=True)
    (folder / "cats" / "round").symlink_to(folder, target_is_directory=True)
    images = load_resized(folder, "x", "train", 8, 1)
    assert len(images) == 2
    assert images.labels.tolist() == [0, 1]


def test_faces_of_another_size_are_refused(tmp_path):
    (tmp_path / folders.FOLDER).mkdir()
    Image.new("RGB", (64, 64), (40, 40, 40)).save(tmp_path / folders.FOLDER / "000001.jpg")
    (tmp_path / folders.PARTITION).write_text("000001.jpg 0\n")
    with pytest.raises(UserError, match="is 64 x 64 pixels: expected 178 x 218"):
        folders.load("train", tmp_path)


def test_a_grey_face_keeps_its_level(tmp_path):
    (tmp_path / folders.FOLDER).mkdir()
    Image.new("RGB", folders.ALIGNED, (40, 40, 40)).save(tmp_path / folders.FOLDER / "000001.jpg", quality=95)
    (tmp_path / folders.PARTITION).write_text("000001.jpg 0\n")
    for size in (32, 64):
        assert folders.load("train", tmp_path, size).images.unique().tolist() == [40]


def test_a_bit_that_flipped_among_the_pixels_is_seen(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)).save(path, compress_level=0)
    whole = path.read_bytes()
    for place in range(100, 1000, 90):  # within the uncompressed pixels
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match="is not a whole image"):
            read_picture(path)


def with_text_chunk(content: bytes, size: int) -> bytes:
    """A PNG with a compressed text of `size` bytes behind its header."""
    data = b"note\x00\x00" + zlib.compress(b"x" * size)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    return content[:33] + chunk + content[33:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b[:60],
        lambda b: b[: len(b) // 2],
        lambda b: b"text, no image",
        lambda b: with_text_chunk(b, 3 << 20),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, damage):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="is not a whole image") as error:
        read_picture(path)
    assert "\n" not in str(error.value)


def test_floating_point_levels_are_refused(tmp_path):
    Image.fromarray(RAMP.astype(np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(UserError, match="floating-point levels"):
        read_picture(tmp_path / "a.tiff")
