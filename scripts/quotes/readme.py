"""Numbers of the short table and of other pages of the top level, which repeat those of the papers' RESULTS.md."""

from scripts.quotes import diffusion, infodiffusion, itdiffusion, scoregen, vae
from scripts.quotes.quote import Quote

README = "README.md"

QUOTES = [
    Quote(README, "exact test KL least at T = {T_kl:.1f} and {T_kl_next:.1f} ({kl4:.2f} ± {kl4_se:.2f} nats), bound least "
          "at T = {T_bound:.1f}", diffusion.swiss_roll),
    Quote(README, "{digits_full_ode10:.2f} bits/dim by the ODE, {digits_full_elbo10:.2f} by the ELBO (full set, T = 1)",
          diffusion.images),
    Quote(README, "bound {fast60_ours:.2f} nats, test curve {fast60_test:.2f} ± {fast60_test_se:.2f}; mean memorization "
          "score {fast_mean:.2f} ± {fast60_mi_held_se:.2f} nats", vae.digits),
    Quote(README, "NLL {levels:.3f} ± {levels_se:.3f} bits/dim (best baseline {mixture:.3f})", itdiffusion.digits),
    *(Quote(path, "{near:d} of {laws:d} distributions" + words, itdiffusion.mi)
      for path, words in ((README, " within"), ("docs/mutual-information.md", " of known mutual information"))),
    Quote(README, "AUROC of the factors {diff_auroc:.3f} ± {diff_auroc_se:.3f} (InfoVAE {infovae_auroc:.3f} ± "
          "{infovae_auroc_se:.3f}); digit read from the code: {percent_diff:.1f} ± {percent_diff_se:.1f}%",
          infodiffusion.codes),
    Quote(README, "least KL {adam:.3f} ± {adam_se:.3f} nats (Adam), {sgd:.3f} ± {sgd_se:.3f} (SGD)", scoregen.dynamics),
]  # fmt: skip
