"""The image studies of the paper by the names of their launchers, and small files of their data sets' real formats."""

from data_files import cifar_batches, write_cifar_folder, write_idx
from launching import ran

from diffusion import cifar10, digits, fashion_mnist, mnist
from diffusion.image import experiment

STUDIES = {"digits": digits, "mnist": mnist, "fashion_mnist": fashion_mnist, "cifar10": cifar10}
SETS = {"mnist": "mnist", "fashion_mnist": "fashion-mnist", "cifar10": "cifar10"}


def ran_images(study, tmp_path, *words):
    """Ids of the runs of an image study that these words would do, in order."""
    return ran(experiment("python -m lab", study.SWEEPS), tmp_path, *words)


def write_images(name, folder):
    if name == "cifar10":
        write_cifar_folder(folder / "cifar-10-batches-py", cifar_batches(n=5))
    else:
        write_idx(folder / {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw"}[name], zipped=True, n_train=25)
