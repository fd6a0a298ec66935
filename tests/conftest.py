"""Settings of every test: one thread, so that tiny tensors do not wait for each other; the CPU, on a GPU box too."""

import os
from unittest.mock import MagicMock

import emulated_device
import pytest
import torch

torch.set_num_threads(1)
os.environ.setdefault("DEVICE", "cpu")
emulated_device.register()


@pytest.fixture(scope="module")
def no_tensorboard():
    """Training writes no events: TensorBoard takes longer to import than a small run takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infolab.training._Board", MagicMock())
        yield
