"""Every launcher and instrument on another device than the CPU: the CPU's numbers; few copies and no waits a step."""

import json
import sys

import pytest
import torch
from device_runs import CPU, DEVICE, EMULATED, NAME, SINGLE, assert_same_results, run

from infolab import nll

INFO = "infodiffusion.run smoke --dataset digits --T 40 --split-step 20"
DIGITS = "diffusion.digits smoke --iterations 3 --ode-tolerance 0.1 --sde-steps 3"
FEW = "--test-images 6 --variational-steps 2 --samples 2 --points 6 --points-while-training 6"
CHOICE = "diffusion.choose_T smoke --T 0.5 2.0 --T-tolerance 0.5 --penalty-weights 0.03 --test-points 20 --sde-steps 5"
LAUNCHERS = {
    "diffusion.digits": [DIGITS],
    "diffusion.digits, flips": [f"{DIGITS} --m 16 --flip --time-sampler debiased --parametrization velocity"],
    "diffusion.penalty_digits": [
        "diffusion.penalty_digits smoke --penalty-weight 1e-5 --iterations 3 --ode-tolerance 0.1 --sde-steps 3"
    ],
    "diffusion.toy": ["diffusion.toy smoke --m 24"],
    "diffusion.penalty_toy": ["diffusion.penalty_toy smoke"],
    "diffusion.choose_T": [f"{CHOICE} --epochs 12 --evaluate-every 6"],
    "itdiffusion.shapes": ["itdiffusion.shapes smoke"],
    "itdiffusion.digits": [f"itdiffusion.digits smoke --dequantize {FEW}"],
    "vae.full": ["vae.full smoke --batch 8"],
    "vae.full, redrawn": ["vae.full smoke --batch 8 --mode full --redraw --proposal full-covariance --points sobol"],
    "vae.cv": ["vae.cv smoke --batch 8"],
    "vae.denoiser_grid": ["vae.denoiser_grid smoke --batch 8"],
    "infodiffusion": [
        f"{INFO} --mode train,save_latent,eval,interpolate,disentangle,latent_quality,plot_latent",
        f"{INFO} --model diff --mode eval_fid,save_original_img",
        f"{INFO} --model diff --mode eval --sampling two-phase",
        f"{INFO} --model diff --mode eval --steps 0",
    ],
    "infodiffusion, flips": [f"{INFO} --model diff --mode train --flip --kld-weight 0.1 --use-c"],
    "scoregen.capacity": ["scoregen.capacity smoke --epochs 100"],
    "scoregen.mixture": ["scoregen.mixture smoke"],
    "scoregen.samples": ["scoregen.samples smoke --n 16"],
    "scoregen.features": ["scoregen.features smoke"],
    "scoregen.digit_clusters": ["scoregen.digit_clusters smoke --pair farthest"],
}
"""A name and the commands that run in one folder, in turn."""


emulated_only = pytest.mark.skipif(
    not EMULATED, reason="only the emulated device counts copies and does without float64"
)


@pytest.fixture(scope="session")
def ran(tmp_path_factory):
    """(name, how) -> what the launcher did, run once a session."""
    kept = {}

    def of(name, how):
        if (name, how) not in kept:
            kept[name, how] = run(tmp_path_factory.mktemp("device"), LAUNCHERS[name], how)
        return kept[name, how]

    return of


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_gives_the_numbers_of_the_cpu(ran, name):
    # The emulated device computes by the CPU's kernels, but for convolutions, attention and sums that have their own
    # there; a real one rounds everywhere, and a few steps of training carry that on.
    assert_same_results(ran(name, DEVICE), ran(name, CPU), rtol=1e-4 if EMULATED else 2e-2)


@emulated_only
@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_needs_no_float64_on_the_device(ran, name):
    # An ODE that is solved in float32 takes other steps.
    assert_same_results(ran(name, SINGLE), ran(name, CPU), rtol=2e-3)


@emulated_only
@pytest.mark.parametrize(
    "name", [name for name in LAUNCHERS if name not in ("scoregen.features", "diffusion.choose_T")]
)
def test_a_training_step_copies_twice_at_most_and_never_waits(ran, name):
    steps = ran(name, DEVICE).steps
    assert steps
    assert [step.waits for step in steps if step.waits] == []
    copies = [len(step.copies) for step in steps]
    # The VAEs' order and noise of an epoch go to the device together, with its first step (of two models in ghost).
    most = 4 if name.startswith("vae") else 2
    assert max(copies) <= most, max((step.copies for step in steps), key=len)
    assert sorted(copies)[len(copies) // 2] <= 2


@emulated_only
def test_only_the_steps_that_move_T_wait(ran):
    steps = ran("diffusion.choose_T", DEVICE).steps
    still = [step for step in steps if not step.waits]
    assert len(still) >= len(steps) // 2
    assert max(len(step.copies) for step in still) <= 2


RESUMED = {
    "diffusion.digits": f"{DIGITS} --m 16 --dropout 0.1",
    "diffusion.choose_T": f"{CHOICE} --epochs 4 --evaluate-every 4 --T-every 2 --norm-every 2",
    "itdiffusion.digits": f"itdiffusion.digits smoke --dropout 0.1 --members noise --no-widen {FEW}",
    "vae.full": "vae.full smoke --mode full --batch 16",
    "infodiffusion": f"{INFO} --model diff --mode train --dropout 0.1",
    "scoregen.digit_clusters": "scoregen.digit_clusters smoke --pair farthest",
}


@pytest.mark.parametrize("command", RESUMED.values(), ids=RESUMED)
def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(command, tmp_path, capsys):
    whole = run(tmp_path / "whole", [command], DEVICE)
    run(tmp_path / "broken", [f"{command} --max-minutes 1e-9"], DEVICE, expected=75)
    assert not list((tmp_path / "broken").rglob("*.csv"))
    capsys.readouterr()
    resumed = run(tmp_path / "broken", [command], DEVICE)
    assert "resumed at step 1 " in capsys.readouterr().err
    assert 0 < len(resumed.steps) < len(whole.steps)
    assert_same_results(resumed, whole, rtol=1e-12 if EMULATED else 1e-3)


MODES = {
    "bf16 training": [f"{DIGITS} --m 16 --precision bf16 --dropout 0.1"],
    "bf16 training of all heads": [
        f"itdiffusion.digits smoke --precision bf16 --members noise gaussian levels --no-widen {FEW}"
    ],
    "bf16 sampling": [f"{INFO} --model diff --mode train,eval --precision bf16"],
    "dropout": [
        f"{INFO} --model diff --mode train,train_latent_ddim --dropout 0.1",
        f"{INFO} --model diff --mode eval --dropout 0.1 --sampling latent",
    ],
}


@pytest.mark.parametrize("commands", MODES.values(), ids=MODES)
def test_what_other_devices_round_or_draw_otherwise_runs(commands, tmp_path):
    done = run(tmp_path, commands, SINGLE)
    assert done.tables
    for step in done.steps:
        assert (len(step.copies) <= 2, step.waits) == (True, [])


def halved(z, logsnr):
    return torch.sigmoid(-logsnr).sqrt()[:, None, None, None] * z / 2


@pytest.mark.parametrize("which", ["checkpoint", "denoiser"])
def test_nll_of_a_denoiser_on_the_device(ran, which, monkeypatch, capsys):
    (folder,) = (ran("itdiffusion.digits", CPU).folder / "runs/itdiffusion/digits").iterdir()
    asked = ["--checkpoint", str(folder)] if which == "checkpoint" else ["--denoiser", "test_device_results:halved"]

    def report(device):
        words = ["--data", "digits", "--n", "8", "--points", "4", "--no-widen", "--json", "--device", device]
        monkeypatch.setattr(sys, "argv", ["nll", *asked, *words])
        nll.main()
        return json.loads(capsys.readouterr().out)

    ours, theirs = report(NAME), report("cpu")
    for kind in ("nll_nats", "nll_bpd", "reference_nats"):
        assert ours[kind] == pytest.approx(theirs[kind], rel=1e-4, abs=1e-4)
