"""The tests of equal bits with the kernels of other processors, on this one: `make test-processors`.

Libraries choose their kernels by the processor, and by environment variables. Rounding differs between kernels, so what
equals by luck on one processor (a sum in another order, a product of another memory layout) shows on another.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

SETTINGS = {
    "ATEN_CPU_CAPABILITY=default": "torch's own kernels without vector instructions",
    "ATEN_CPU_CAPABILITY=avx2": "torch's own kernels where there is no AVX-512",
    "ONEDNN_MAX_CPU_ISA=SSE41": "convolutions as on an old processor",
    "ONEDNN_MAX_CPU_ISA=AVX2": "convolutions where there is no AVX-512",
    "MKL_CBWR=AVX2": "torch's products and eigenvectors as on Intel's processors without AVX-512",
    "MKL_CBWR=COMPATIBLE OPENBLAS_CORETYPE=Nehalem": "products and eigenvectors, torch's and numpy's, as on an old one",
}


def probe() -> dict[str, str]:
    """A digest of the bits of each kind of result, by name."""
    source = torch.Generator().manual_seed(0)

    def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        # Sums of uniforms, which are whole multiples of 2^-24: the same bits whatever the kernels.
        return (torch.rand(4, *shape, generator=source, dtype=dtype) - 0.5).sum(0)

    single, double = normal(200, 200), normal(200, 200, dtype=torch.float64)
    images, kernels = normal(16, 3, 32, 32), normal(32, 3, 3, 3)
    array = double.numpy()
    results = {
        "sums": single.exp().sum(),
        "sigmoids": single.sigmoid(),
        "softmax": single.softmax(1),
        "group norms": torch.nn.functional.group_norm(normal(4, 32, 8, 8), 8),
        "normal noise": torch.randn(1000, generator=torch.Generator().manual_seed(0)),
        "convolutions": torch.nn.functional.conv2d(images, kernels),
        "float32 products": single @ single,
        "float64 products": torch.stack([double @ double[:, 0], double.T @ double[:, 0]]),
        "eigenvectors": torch.linalg.eigh(double + double.T)[1],
        "numpy's products": array @ array,
        "numpy's eigenvectors": np.linalg.eigh(array + array.T)[1],
    }
    return {name: hashlib.sha256(np.asarray(item).tobytes()).hexdigest() for name, item in results.items()}


def main() -> None:
    """Run the marked tests under each setting that changes bits on this processor; exit code 1 where one fails."""
    if sys.argv[1:] == ["probe"]:
        say(json.dumps(probe()))
        return
    plain, failed = _probed({}), []
    for setting, meaning in SETTINGS.items():
        variables = dict(word.split("=") for word in setting.split())
        changed = [name for name, digest in _probed(variables).items() if digest != plain[name]]
        if not changed:
            say(f"{setting}, {meaning}: what this processor does by itself, nothing to run.")
            continue
        say(f"{setting}, {meaning}: other bits in {', '.join(changed)}.")
        if _python("-m", "pytest", "-m", "bits", variables=variables).returncode:
            failed.append(setting)
    if failed:
        sys.exit(f"tests of equal bits failed under {', '.join(failed)}: see above")


def say(text: str) -> None:
    """A line at once, between those of the tests."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _probed(variables: dict[str, str]) -> dict[str, str]:
    found = _python(__file__, "probe", variables=variables, capture_output=True, text=True, check=True)
    return dict(json.loads(found.stdout))


def _python(*words: str, variables: dict[str, str], **options: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run([sys.executable, *words], cwd=Path(__file__).resolve().parents[1], env=environment, **options)


if __name__ == "__main__":
    main()
