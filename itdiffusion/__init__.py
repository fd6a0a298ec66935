"""Kong, Brekelmans, Ver Steeg 2023: exact log-likelihood from denoising errors (I-MMSE).

Read `plain.py` first: the method in one file of 200 lines, which `python -m itdiffusion.plain` runs. Then the 2-D study
(`shapes_config.py`, `shapes.py`, `shapes_model.py`, `shapes_evaluate.py`, `shapes_grid.py`), images (`images*.py`, then
`digits.py`, `patches.py`, `cifar10.py`, and `pretrained.py` for the published networks), the `nll` of one's own model
(`nll*.py`, `load.py`, `convention.py`, `ode_nll.py`) and mutual information (`mi*.py`).
"""

from infolab.signals import stops_end_start

stops_end_start()
