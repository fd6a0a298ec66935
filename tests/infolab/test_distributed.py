"""Two gloo processes on CPUs train as one, stop together, and read what one of them wrote."""

import multiprocessing
import os
import signal
import socket

import pytest
import torch

from infolab import distributed
from infolab.config import RunConfig
from infolab.errors import InterruptedRunError
from infolab.runs import Run
from infolab.training import Training, train

DATA = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))


def training(steps: int, parts: int = 1, stop_at: int = -1) -> Training:
    """Least squares on this process's share of the data; the second process is told to stop before step `stop_at`."""
    model = Model()

    def objective(step, part=0):
        if step == stop_at and distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        mine = distributed.share(torch.arange(part, 8, parts))
        return ((DATA[mine] @ model.weight - step).square()).mean() / parts

    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    return Training(model=model, optimizer=optimizer, objective=objective, steps=steps, parts=parts, ema_decay=0.5)


def go(folder, steps=6, parts=1, stop_at=-1):
    """Train and return the weights and their average."""
    work = training(steps, parts, stop_at)
    config = RunConfig(runs_dir=folder / "runs", results_dir=folder / "results")
    with Run("paper", "study", "smoke", config).open() as run:
        train(run, work)
    return work.model.weight.detach(), work.ema["weight"]


def process(rank, port, folder, settings, queue):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": ""}
    torch.set_num_threads(1)
    try:
        distributed.join()
        seen = (distributed.gather(rank), distributed.anyone(rank == 1), distributed.anyone(False))
        weight, average = go(folder, **settings)
        queue.put((rank, seen, weight.tolist(), average.tolist()))
    except InterruptedRunError as error:
        queue.put((rank, str(error)))
    finally:
        distributed.leave()


def two(folder, **settings):
    """What both processes say, by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    started = [context.Process(target=process, args=(rank, port, folder, settings, queue)) for rank in (0, 1)]
    for one in started:
        one.start()
    said = sorted((queue.get(timeout=300) for _ in started), key=lambda one: one[0])
    for one in started:
        one.join()
    return said


@pytest.mark.parametrize("parts", [1, 2])
def test_two_processes_train_as_one(tmp_path, parts):
    weight, average = go(tmp_path / "alone", parts=parts)
    first, second = two(tmp_path / "both", parts=parts)
    for rank, seen, own, own_average in (first, second):
        assert seen == ([0, 1], True, False)
        torch.testing.assert_close(torch.tensor(own), weight, msg=f"rank {rank}")
        torch.testing.assert_close(torch.tensor(own_average), average)
    assert first[2:] == second[2:]


def test_a_signal_to_one_stops_both_after_the_same_step_and_they_go_on(tmp_path):
    first, second = two(tmp_path, stop_at=2)
    assert "step 3 of 6" in first[1]
    assert "step 3 of 6" in second[1]
    first, second = two(tmp_path)
    weight, _ = go(tmp_path / "alone")
    torch.testing.assert_close(torch.tensor(first[2]), weight)
    assert first[2:] == second[2:]


def test_alone_everything_is_what_it_was(tmp_path):
    assert (distributed.rank(), distributed.world_size(), distributed.is_first()) == (0, 1, True)
    assert distributed.gather("x") == ["x"]
    torch.testing.assert_close(distributed.share(torch.arange(3)), torch.arange(3))
    values = torch.ones(2)
    assert distributed.average(values) is values
    assert distributed.anyone(True)
    distributed.wait()
