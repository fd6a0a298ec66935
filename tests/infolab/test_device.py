"""The device of a run: what `auto` takes, GPUs that cannot be used, arithmetic, and what is said of it."""

import sys

import pytest
import torch

from infolab import device
from infolab.config import RunConfig
from infolab.errors import UserError
from infolab.runs import Run


@pytest.fixture
def no_cuda(monkeypatch):
    """A machine whose torch sees no GPU, with no trace of one in the environment."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "_driver", lambda: None)
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_without_a_gpu_auto_is_the_cpu(no_cuda):
    assert device.pick_device("auto") == torch.device("cpu")


def test_an_old_driver_is_an_error_with_its_reason(no_cuda):
    def too_old():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update it.")

    no_cuda.setattr(device, "_driver", lambda: "470.57")
    no_cuda.setattr(torch.cuda, "init", too_old)
    no_cuda.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(UserError, match=r"there is an NVIDIA GPU, but torch cannot use it \(The NVIDIA .* 11040\)"):
        device.pick_device("auto")
    assert device.pick_device("cpu") == torch.device("cpu")  # the way out that the message names


@pytest.mark.parametrize("visible", ["", "-1"])
def test_a_hidden_gpu_is_an_error_with_its_reason(no_cuda, visible):
    no_cuda.setattr(device, "_driver", lambda: "580.1")
    no_cuda.setattr(torch.version, "cuda", "13.0")
    no_cuda.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(UserError, match=f"but CUDA_VISIBLE_DEVICES='{visible}' hides it: unset it.*--device cpu"):
        device.pick_device("auto")


@pytest.mark.parametrize(
    ("name", "value"), [("SLURM_JOB_GPUS", "0"), ("SLURM_STEP_GPUS", "0,1"), ("SLURM_GPUS_ON_NODE", "2")]
)
def test_a_reserved_gpu_that_is_not_seen_is_an_error(no_cuda, name, value):
    no_cuda.setenv("SLURM_GPUS_ON_NODE", "0")
    no_cuda.setenv(name, value)
    no_cuda.setattr(torch.version, "cuda", None)
    no_cuda.setattr(torch.version, "hip", None, raising=False)
    with pytest.raises(UserError, match=rf"reserved GPUs \({name}={value}\), but torch .* build without CUDA"):
        device.pick_device("auto")


def test_a_build_without_cuda_beside_a_gpu_is_an_error(no_cuda):
    no_cuda.setattr(device, "_driver", lambda: "580.1")
    no_cuda.setattr(torch.version, "cuda", None)
    no_cuda.setattr(torch.version, "hip", None, raising=False)
    with pytest.raises(UserError, match=r"there is an NVIDIA GPU, but torch .* build without CUDA") as error:
        device.pick_device("auto")
    assert "\n" not in str(error.value)


def test_the_first_line_of_a_run_names_the_device(tmp_path, capsys):
    config = RunConfig(runs_dir=tmp_path / "runs", results_dir=tmp_path / "results", device="cpu", threads=1)
    device.set_up(config)
    with Run("paper", "study", "smoke", config).open() as run:
        run.say("second line")
    first = capsys.readouterr().err.splitlines()[0]
    assert first == f"paper/study {run.id}: device: cpu ({device.processor()}), fp32, 1 CPU thread"
    assert (run.folder / "log.txt").read_text().splitlines()[0].endswith("fp32, 1 CPU thread")


@pytest.fixture
def arithmetic():
    """Leaves the process's arithmetic as it was."""
    before = [backend.fp32_precision for backend in device._tf32_backends()]
    yield
    for backend, old in zip(device._tf32_backends(), before, strict=True):
        backend.fp32_precision = old
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("arithmetic")
def test_float32_is_float32_unless_tf32_is_asked_for(monkeypatch):
    def settings(precision):
        config = RunConfig(device="cpu")
        object.__setattr__(config, "precision", precision)
        device.set_up(config)
        return {backend.fp32_precision for backend in device._tf32_backends()}

    assert settings("fp32") == settings("bf16") == {"ieee"}
    assert settings("tf32") == {"tf32"}
    with pytest.raises(UserError, match="unknown precision 'fp16'"):
        settings("fp16")


@pytest.mark.usefixtures("arithmetic")
def test_deterministic_refuses_operations_that_are_not(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    device.set_up(RunConfig(device="cpu", deterministic=True))
    assert torch.are_deterministic_algorithms_enabled()
    assert device.provenance(RunConfig(device="cpu", deterministic=True))["deterministic"]
    device.set_up(RunConfig(device="cpu"))
    assert not torch.are_deterministic_algorithms_enabled()


def test_provenance_names_the_gpu(monkeypatch):
    monkeypatch.setattr(device, "pick_device", lambda name: torch.device("cuda", 1))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda which: "NVIDIA X")
    monkeypatch.setattr(device, "_driver", lambda: "580.1")
    record = device.provenance(RunConfig())
    assert record["device"] == "cuda:1"
    assert record["gpu"].keys() == {"name", "driver", "cuda", "cudnn", "tf32"}
    assert (record["gpu"]["name"], record["gpu"]["driver"]) == ("NVIDIA X", "580.1")
    assert device.describe(RunConfig()).startswith("device: cuda:1 (NVIDIA X), fp32")


def test_the_environment_names_the_default_device(monkeypatch):
    monkeypatch.setenv("DEVICE", "cuda:3")
    assert RunConfig().device == "cuda:3"
    monkeypatch.delenv("DEVICE")
    assert RunConfig().device == "auto"


@pytest.mark.skipif(sys.platform != "linux", reason="the driver's file is Linux's")
def test_the_driver_is_asked_of_the_system(tmp_path, monkeypatch):
    assert device._driver() is None or device._driver()[0].isdigit()
