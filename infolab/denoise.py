"""The type of the model: a network in whatever convention it was trained, as a denoiser in the lab's channel."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from infolab.device import to_double
from infolab.errors import UserError, check_choice
from infolab.model_schedules import preserves_variance
from infolab.predictions import PREDICTS, Prediction, read, read_vp
from infolab.schedules import DDPM, LogsnrLine, Schedule, ScheduleValues, append_dims

# ----------
# One type for the model: a network in whatever convention it was trained, as a denoiser in the lab's channel.
#
# The channel is z = sqrt(s(a)) x + sqrt(s(-a)) eps at log-SNR a, s the sigmoid. A network was trained on x_t = alpha_t
# x + sigma_t eps of some schedule, is told the time in some way, and predicts something that with x_t gives eps. All
# of that is linear: x_t = sqrt(alpha_t^2 + sigma_t^2) z at the time whose log-SNR is a.

Time = Callable[[ScheduleValues], Tensor]
TIMES: dict[str, Time] = {
    "t": lambda level: level.t,
    "1000t": lambda level: 1000 * level.t,
    "sigma": lambda level: level.sigma,
    "log-sigma/4": lambda level: level.sigma.log() / 4,
    "logsnr": lambda level: level.logsnr,
    "step": lambda level: level.t,
}
"""What a network may be told of the time, from the level of its schedule, float. `step`, of a discrete schedule: the
step itself, an int64 where a whole step is asked for (`Denoiser.at_step`)."""
WithDivergence = Callable[..., tuple[Tensor, Tensor]]
"""What a network is called with -> what it returns, and the divergence of that in x_t, of the shape of the time."""


class Denoiser(nn.Module):
    """A network in whatever convention it was trained, as a denoiser: the one type of the model in this library.

    Every instrument and sampler takes a `Denoiser` and asks it for the view that it needs. Batches may have any shape:
    x of shape (batch..., event...) goes with times of shape (batch...).

    ============================  ====================================================================================
    the model is called with      Denoiser(network, ...)
    ============================  ====================================================================================
    z, log-SNR; returns eps       `Denoiser(network)`, or `Denoiser.of_eps(network)`
    x_t, t of a VP SDE; score     `Denoiser(network, "score", VP())`, or `Denoiser.of_score(network, VP())`
    x_t, step of a DDPM; eps      `Denoiser(network, "eps", DDPM.linear())`; where steps must be whole numbers (int64)
                                  `Denoiser.of_steps(network, DDPM.linear())`
    the same; x0, or v            `Denoiser(network, "x0", DDPM.linear())`, `Denoiser(network, "v", DDPM.cosine())`
    x_t, t of a cosine; v         `Denoiser(network, "v", Cosine())`
    x + sigma eps, sigma; D       `Denoiser(network, "edm", EDM())`
    EDM's raw F, c_noise          `Denoiser(network, "edm-raw", EDM(), "log-sigma/4", sigma_data=0.5)`
    x_t, t of a rectified flow    `Denoiser(network, "flow", RectifiedFlow())` with the data at t = 0; with the noise
                                  at t = 0 `RectifiedFlow(noise_first=True)`; "-flow" where it returns -dx_t/dt
    any alpha(t), sigma(t)        `Denoiser(network, "eps", Given(alpha, sigma))`
    azula, k-diffusion, flow      `Denoiser.wrap(model)`
    matching, a diffusers folder
    ============================  ====================================================================================

    Where the view that is asked for is the network's own convention it is called as it stands, without conversion: eps
    in the channel, the score at times of its own schedule, eps at whole steps of its own DDPM. Everything else is
    linear algebra on one call (see `read`).

    A subclass with more than one network, say, overrides `call`.

    Args:
        network: called with x_t (batch..., event...) and the time (batch...), and conditions by name; returns a tensor
            like x_t, or something with `sample` (as diffusers' models do). Of a discrete schedule it may have twice the
            channels: the second half is v, by which the reverse variance is interpolated (`infolab.variational`).
        predicts: one of `infolab.predictions.PREDICTS`.
        schedule: of its training; None: the channel itself, time being the log-SNR.
        time: what it is told of the time: a key of `TIMES`, or a function of the schedule's `ScheduleValues`. Default:
            t; for a discrete schedule `time_per_step` times the step, between two of which it is interpolated.
        sigma_data: of EDM's preconditioning (`edm-raw`).
        with_divergence: where the divergence of the network's output is known in closed form: called as the network,
            returns both. Used where the network's own convention is asked for (eps or the score, as above).

    Raises:
        UserError: an unknown word, or no schedule.

    >>> unit_normal = Denoiser(lambda x, t: torch.zeros_like(x), "v")
    >>> found = unit_normal(torch.tensor([[0.5]]), torch.tensor([0.0]))
    >>> round(float(found.x0_hat), 4), round(float(found.eps_hat), 4)
    (0.3536, 0.3536)
    """

    def __init__(
        self,
        network: Callable[..., Any],
        predicts: str = "eps",
        schedule: Schedule | None = None,
        time: str | Time = "",
        sigma_data: float = 0.5,
        with_divergence: WithDivergence | None = None,
    ):
        super().__init__()
        check_choice("prediction", predicts, PREDICTS)
        if isinstance(time, str) and time:
            check_choice("time", time, tuple(TIMES))
        if schedule is not None and not hasattr(schedule, "at"):
            raise UserError(f"schedule: expected one of the library's, as VP(), Cosine() or EDM(), not {schedule!r}")
        self.network, self.predicts, self.sigma_data = network, predicts, sigma_data
        self.schedule, self.time, self.with_divergence = schedule, time, with_divergence

    # How it is made.

    @classmethod
    def of_eps(cls, eps_hat: Callable[..., Any], with_divergence: WithDivergence | None = None) -> "Denoiser":
        """A function eps_hat(z, logsnr) in the channel z = sqrt(s(a)) x + sqrt(s(-a)) eps."""
        return Denoiser(eps_hat, with_divergence=with_divergence)

    @classmethod
    def of_score(
        cls, score: Callable[..., Any], schedule: Schedule, with_divergence: WithDivergence | None = None
    ) -> "Denoiser":
        """A score s(x_t, t) of the distribution that is noised by `schedule`."""
        return Denoiser(score, "score", schedule, with_divergence=with_divergence)

    @classmethod
    def of_steps(cls, eps_hat: Callable[..., Any], schedule: DDPM) -> "Denoiser":
        """A function eps_hat(x_t, step) of the whole steps (n,) int64 in 0 .. N-1 of a discrete schedule."""
        return Denoiser(eps_hat, "eps", schedule, "step")

    @staticmethod
    def wrap(model: Any, predicts: str = "", schedule: Schedule | None = None, **words: Any) -> "Denoiser":
        """A model of another library, recognised by its interface, or one from a path (`infolab.foreign.wrap`)."""
        from infolab.foreign import wrap  # which makes Denoisers

        return wrap(model, predicts, schedule, **words)

    def given(self, *condition: Any, **named: Any) -> "Denoiser":
        """The same network with its conditions fixed: what it is called with after x_t and the time.

        Raises:
            UserError: as it is called, where a tensor among them has another number of examples than x_t.
        """

        def call(x_t: Tensor, told: Tensor) -> Any:
            for item in (*condition, *named.values()):
                if isinstance(item, Tensor) and item.ndim and len(item) != len(x_t):
                    raise UserError(f"{len(x_t)} samples and {len(item)} codes: expected one code a sample")
            return self.call(x_t, told, *condition, **named)

        return Denoiser(call, self.predicts, self.schedule, self.time, self.sigma_data)

    # The views.

    def forward(self, z: Tensor, logsnr: Tensor, **condition: Any) -> Prediction:
        """What the network says of z (batch..., event...) at log-SNRs a (batch...), in the channel."""
        if self.predicts == "eps":
            return read_vp("eps", self.eps(z, logsnr, **condition), z, logsnr)
        level = self.level(logsnr)
        return self.read(self.output(z, level, **condition), z, logsnr, level)

    def eps(self, z: Tensor, logsnr: Tensor, **condition: Any) -> Tensor:
        """eps_hat alone, E[eps | z] of the optimal denoiser, at log-SNRs a (batch...)."""
        if self._takes_eps:
            return self._call(z, logsnr, **condition)
        level = self.level(logsnr)
        out = self.output(z, level, **condition)
        return out if self.predicts == "eps" else self.read(out, z, logsnr, level).eps_hat

    def score(self, x_t: Tensor, t: Tensor, schedule: Schedule, **condition: Any) -> Tensor:
        """The score of x_t = alpha_t x + sigma_t eps at times t (batch...) of any schedule, -eps_hat / sigma_t."""
        if self._takes_score(schedule):
            return self._call(x_t, t, **condition)
        level = schedule.at(t)
        return -self.eps(_in_channel(x_t, level, schedule), level.logsnr, **condition) / append_dims(level.sigma, x_t)

    def score_and_divergence(
        self, x_t: Tensor, t: Tensor, schedule: Schedule, probe: Tensor | None = None, **condition: Any
    ) -> tuple[Tensor, Tensor]:
        """The score and its divergence sum_i ds_i / dx_i, of the shapes of x_t and t; both without a graph.

        Args:
            x_t: (batch..., event...).
            t: times (batch...) of `schedule`.
            schedule: of x_t.
            probe: v of the shape of x_t with E v v^T = I, Rademacher (least variance) or Gaussian: Hutchinson's
                unbiased estimate v^T (ds/dx) v, by one backward pass. None: exact, in closed form where that is known,
                else by as many backward passes as the event has numbers.
            condition: of the network.
        """
        closed = self._closed_form(x_t, t, schedule, condition) if probe is None else None
        if closed is not None:
            return closed
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            s = self.score(x, t, schedule, **condition)
            if probe is not None:
                pulled = torch.autograd.grad(s, x, probe)[0]
                return s.detach(), (pulled * probe).flatten(t.ndim).sum(-1)
            flat = s.flatten(t.ndim)
            parts = [
                torch.autograd.grad(flat[..., j].sum(), x, retain_graph=True)[0].flatten(t.ndim)[..., j]
                for j in range(flat.shape[-1])
            ]
        return s.detach(), torch.stack(parts).sum(0)

    def at_step(self, x: Tensor, step: Tensor, schedule: DDPM, **condition: Any) -> tuple[Tensor, Tensor | None]:
        """eps_hat at whole steps of a discrete schedule, and v of a network that learns its variance.

        Args:
            x: x_i (n, event...), of which `schedule` made the noise.
            step: i (n,) int64 in 0 .. N-1.
            schedule: on its own schedule a network is called as in training; on another at the log-SNR of the steps.
            condition: of the network.

        Returns:
            eps_hat, and v in [-1, 1] of log var = v' log beta + (1 - v') log beta~, v' = (v + 1)/2, of the shape of x;
            None where the network has none, or the schedule is another one.
        """
        own = self.schedule
        if not isinstance(own, DDPM) or self.time not in ("", "step") or not _same(own, schedule):
            return self.eps(x, schedule.logsnr[step.cpu()].to(x), **condition), None
        told = step if self.time == "step" else step.to(x) * own.time_per_step
        out, v = self._both(x, told, **condition)
        if self.predicts == "eps":
            return out, v
        at = step.cpu()
        return self.read(out, x, own.logsnr[at], own.at(at.double())).eps_hat, v

    def eps_at_step(self, x: Tensor, step: Tensor, schedule: DDPM, **condition: Any) -> Tensor:
        """eps_hat of `at_step` alone, which samplers in whole steps take."""
        return self.at_step(x, step, schedule, **condition)[0]

    # What the network says, and what that means.

    def level(self, logsnr: Tensor) -> ScheduleValues:
        """The level of the network's own schedule at log-SNRs, float64 (on the CPU where a device has none)."""
        schedule = self.schedule or LogsnrLine(high=1.0, low=-1.0)
        return schedule.at(schedule.logsnr_to_t(to_double(logsnr)))

    def output(self, z: Tensor, level: ScheduleValues, **condition: Any) -> Tensor:
        """The network's own output at x_t, the channel's z on the scale of its schedule.

        Raises:
            UserError: it is no tensor like x_t.
        """
        x_t = z
        if not preserves_variance(self.schedule):
            x_t = append_dims(torch.hypot(level.alpha, level.sigma).to(z), z) * z
        if self.predicts == "edm-raw":
            x_t = append_dims(torch.rsqrt(level.sigma**2 + self.sigma_data**2).to(z), z) * x_t
        return self._call(x_t, self._told(level).to(z), **condition)

    def read(self, output: Tensor, z: Tensor, logsnr: Tensor, level: ScheduleValues, predicts: str = "") -> Prediction:
        """What an output means, taken as `predicts` (default: as told), see `infolab.predictions.read`."""
        return read(predicts or self.predicts, output, z, logsnr, level, self.sigma_data)

    def _told(self, level: ScheduleValues) -> Tensor:
        if callable(self.time):
            return self.time(level)
        if self.time:
            return TIMES[self.time](level)
        if self.schedule is None:
            return level.logsnr
        return self.schedule.time_per_step * level.t if isinstance(self.schedule, DDPM) else level.t

    def call(self, x_t: Tensor, told: Tensor, *condition: Any, **named: Any) -> Any:
        """What the network returns."""
        return self.network(x_t, told, *condition, **named)

    def _call(self, x_t: Tensor, told: Tensor, **condition: Any) -> Tensor:
        return self._both(x_t, told, **condition)[0]

    def _both(self, x_t: Tensor, told: Tensor, **condition: Any) -> tuple[Tensor, Tensor | None]:
        """The network's output of the shape of x_t, and the rest of its channels, which are as many."""
        found = self.call(x_t, told, **condition)
        found = getattr(found, "sample", found)
        rest = None
        if isinstance(self.schedule, DDPM) and isinstance(found, Tensor) and found.ndim == x_t.ndim > 1:
            channels = x_t.shape[1]
            if found.shape[1] == 2 * channels:
                found, rest = found[:, :channels], found[:, channels:]
        if not isinstance(found, Tensor) or found.shape != x_t.shape:
            what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise UserError(
                f"the denoiser returned {what}: expected a tensor of shape {tuple(x_t.shape)}, as it was given"
            )
        return found, rest

    @property
    def _takes_eps(self) -> bool:
        """Whether the network itself is eps_hat(z, logsnr)."""
        return self.schedule is None and self.predicts == "eps" and self.time in ("", "logsnr")

    def _takes_score(self, schedule: Schedule) -> bool:
        """Whether the network itself is the score at times of this schedule."""
        return self.predicts == "score" and self.time in ("", "t") and _same(self.schedule, schedule)

    def _closed_form(
        self, x_t: Tensor, t: Tensor, schedule: Schedule, condition: dict[str, Any]
    ) -> tuple[Tensor, Tensor] | None:
        if self.with_divergence is None:
            return None
        if self._takes_score(schedule):
            return self.with_divergence(x_t, t, **condition)
        if not self._takes_eps:
            return None
        level = schedule.at(t)
        eps_hat, divergence = self.with_divergence(_in_channel(x_t, level, schedule), level.logsnr, **condition)
        divergence = -divergence / level.sigma
        if not preserves_variance(schedule):
            divergence = divergence / torch.hypot(level.alpha, level.sigma)
        return -eps_hat / append_dims(level.sigma, x_t), divergence


def _in_channel(x_t: Tensor, level: ScheduleValues, schedule: Schedule) -> Tensor:
    """z of the channel that has the log-SNR of x_t."""
    return x_t if preserves_variance(schedule) else x_t / append_dims(torch.hypot(level.alpha, level.sigma), x_t)


def _same(one: Schedule | None, other: Schedule) -> bool:
    """Whether two schedules are one; of discrete ones, whether their steps have the same noise."""
    if isinstance(one, DDPM) and isinstance(other, DDPM):
        return one is other or torch.equal(one.betas, other.betas)
    return one is not None and (one is other or one == other)


def check_model(model: object) -> None:
    """Refuse what is no `Denoiser`: instruments and samplers take nothing else.

    Raises:
        UserError: says how to make one of a network or a function.
    """
    if not isinstance(model, Denoiser):
        raise UserError(
            f"expected a Denoiser, not {type(model).__name__}: wrap it, as in Denoiser(network, 'v', Cosine()), "
            "Denoiser.of_eps(function) or Denoiser.of_score(function, VP())"
        )
