"""Settings of every test: one thread, so that tiny tensors do not wait for each other on shared machines."""

import torch

torch.set_num_threads(1)
