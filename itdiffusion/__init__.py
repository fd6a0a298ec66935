"""Kong, Brekelmans, Ver Steeg 2023: exact log-likelihood from denoising errors (I-MMSE).

Read `plain.py` first: the method in one file of 200 lines, which `python -m itdiffusion.plain` runs. Then the 2-D study
(`shapes.py`, `shapes_model.py`, `shapes_evaluate.py`), images (`images.py`, `images_model.py`, `images_train.py`,
`images_evaluate.py`, then `digits.py`, `patches.py`, `cifar10.py`), and mutual information (`mi_table.py`). The NLL of
one's own model is `infolab/nll.py`.
"""

from infolab.signals import stops_end_start

stops_end_start()
