"""The launchers on files, larger images and other tables, on another device than the CPU, with fewest steps and images:
the CPU's numbers; few copies and no waits a step.
"""

import numpy as np
import pytest
import torch
from data_files import cifar_batches, write_cifar_folder, write_idx
from device_runs import CPU, DEVICE, EMULATED, SINGLE, assert_same_results, run

from infodiffusion import checkpoint
from infolab.data import builtin
from infolab.metrics.networks import train_extractor

IMAGES = (
    "--iterations 2 --test-images 2 --samples 2 --elbo-draws 1 --ode-tolerance 0.3 --sde-steps 2 --score-draws 2 "
    "--data-dir DATA"
)
FEW = "--members noise --test-images 4 --variational-steps 2 --samples 2 --points 4 --points-while-training 4"
INFO = "infodiffusion.run smoke --dataset sprites --model diff"
LAUNCHERS = {
    "diffusion.mnist": [f"diffusion.mnist smoke --m 16 {IMAGES}"],
    "diffusion.fashion_mnist": [f"diffusion.fashion_mnist smoke --m 0 {IMAGES}"],
    "diffusion.cifar10": [f"diffusion.cifar10 smoke --m 16 {IMAGES}"],
    "itdiffusion.patches": [f"itdiffusion.patches smoke {FEW}"],
    "itdiffusion.cifar10": [f"itdiffusion.cifar10 smoke {FEW} --data-dir DATA"],
    "itdiffusion.mi_table": [
        f"itdiffusion.mi_table smoke --case {case} --n 520 --batch 64" for case in ("student-2+2", "label-2")
    ],
    "scoregen.clusters": [
        "scoregen.clusters smoke --dataset mnist --network mnist-tiny --clusters 3 --n 6 --epochs 1 --batch 3 "
        "--loss-images 2 --nll-images 4 --nll-points 4 --samples 2 --sde-steps 2 --pair nearest --data-dir DATA"
    ],
    "infodiffusion": [
        f"{INFO} --mode train,save_latent,eval_fid,eval_disentangle,train_classifier",
        f"{INFO} --mode calc_fid --features DATA/small.safetensors",
    ],
}
"""A name and the commands that run in one folder, in turn; DATA is the folder of the data sets."""

SLOW = ("diffusion.fashion_mnist", "diffusion.cifar10", "itdiffusion.patches", "itdiffusion.cifar10")
"""MNIST's run again, and those on images of 3,072 dimensions, of which itdiffusion's takes a spectrum."""
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in LAUNCHERS]

emulated_only = pytest.mark.skipif(not EMULATED, reason="only the emulated device counts and does without float64")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Files of the data sets, and a feature network of images like the sprites."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("MNIST", "FashionMNIST"):
        write_idx(folder / name / "raw", zipped=True, n_train=25, n_test=20)
    write_cifar_folder(folder / "cifar-10-batches-py", cifar_batches(n=5))
    random = np.random.default_rng(0).integers(0, 256, (8, 1, 32, 32), dtype=np.uint8)
    train_extractor(torch.from_numpy(random), None, "small", steps=1).save(folder / "small.safetensors")
    return folder


@pytest.fixture(scope="module")
def ran(data, tmp_path_factory):
    """(name, how) -> what the launcher did, run once."""
    kept = {}

    def of(name, how):
        if (name, how) not in kept:
            commands = [command.replace("DATA", str(data)) for command in LAUNCHERS[name]]
            kept[name, how] = run(tmp_path_factory.mktemp("device"), commands, how)
        return kept[name, how]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtin, "N_SPLIT", {"train": 70, "test": 40})
        checkpoint._loaded.cache_clear()
        yield of
    checkpoint._loaded.cache_clear()


@pytest.mark.parametrize("name", NAMES)
def test_a_launcher_gives_the_numbers_of_the_cpu(ran, name):
    assert_same_results(ran(name, DEVICE), ran(name, CPU), rtol=1e-4 if EMULATED else 2e-2)


@emulated_only
@pytest.mark.parametrize("name", NAMES)
def test_a_launcher_needs_no_float64_on_the_device(ran, name):
    assert_same_results(ran(name, SINGLE), ran(name, CPU), rtol=2e-3)


@emulated_only
@pytest.mark.parametrize("name", [name for name in NAMES if name != "itdiffusion.mi_table"])
def test_a_training_step_copies_twice_at_most_and_never_waits(ran, name):
    steps = ran(name, DEVICE).steps
    assert steps
    assert [step.waits for step in steps if step.waits] == []
    assert max(len(step.copies) for step in steps) <= 2
