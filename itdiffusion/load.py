"""One denoiser eps_hat(z, logsnr) from a path: this lab's runs, IDDPM's .pt, a Hugging Face DDPM folder."""

from pathlib import Path

from torch import nn

from common.errors import UserError
from common.files import load_json
from itdiffusion.pretrained import load_hugging_face, load_iddpm

EXPECTED = (
    "expected the folder of an image run (runs/itdiffusion/<set>/<id>), IDDPM's .pt, or a folder with diffusers' "
    "config.json and weights"
)


def load_denoiser(path: str | Path, data_shape: tuple[int, ...] | None = None) -> nn.Module:
    """The denoiser at `path`, in evaluation mode, as a function (z (n, c, h, w), logsnr (n,)) -> eps_hat.

    It has `name` (for tables), `levels` (grey levels of its training images in [-1, 1]), `device` and `variance`. Of a
    run with several members the first is taken; `RUN@1` names the second.

    Args:
        path: see `EXPECTED`.
        data_shape: shape of one example (c, h, w), to be checked; None: unchecked.

    Raises:
        UserError: nothing there, or something else; says what was expected.
    """
    place, member = split_member(path)
    denoiser = _load(place, member)
    if data_shape is not None:
        _check_shape(denoiser, place, data_shape)
    return denoiser.eval()


def split_member(path: str | Path) -> tuple[Path, str]:
    """Folder and member's number of `RUN@1`; an @ elsewhere in the path, or of a path that is there, is part of it."""
    whole = Path(path).expanduser()
    before, at, member = str(whole).rpartition("@")
    return (Path(before), member) if at and member.isdigit() and not whole.exists() else (whole, "")


def _load(place: Path, member: str) -> nn.Module:
    if place.is_file() and place.suffix == ".safetensors":
        place = place.parent
    if place.is_dir():
        if any(place.glob("checkpoint-*.safetensors")):
            from itdiffusion.checkpoint import load_run

            if member and not member.isdigit():
                raise UserError(f"'{place}@{member}': expected the number of a member, as in {place.name}@0")
            return load_run(place, int(member or 0))
        if _is_hugging_face(place):
            return load_hugging_face(place)
        raise UserError(f"'{place}' holds no denoiser: {EXPECTED}")
    if not place.exists():
        raise UserError(f"there is no '{place}': {EXPECTED}")
    return load_iddpm(place)


def _is_hugging_face(folder: Path) -> bool:
    for config in (folder / "config.json", folder / "unet" / "config.json"):
        if config.is_file():
            return load_json(config, dict, "a config.json", EXPECTED).get("_class_name") == "UNet2DModel"
    return False


def _check_shape(denoiser: nn.Module, place: Path, data_shape: tuple[int, ...]) -> None:
    expected = getattr(denoiser, "shape", None)
    if expected is not None and tuple(data_shape) != tuple(expected):
        raise UserError(
            f"'{place}' takes images of shape {tuple(expected)} (channels, height, width), the data's are "
            f"{tuple(data_shape)}: give data of that shape"
        )
