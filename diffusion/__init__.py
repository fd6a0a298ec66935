"""Chen, Zhu, Shkurti 2025 (diffusion half) on Huang, Lim, Courville 2021: a bound of the KL and the time T it picks.

Read `plain.py` first: the method in one file of 200 lines, which `python -m diffusion.plain` runs. Then `toy.py`
with `toy_evaluate.py` (the 2-D study), `infolab/bound.py` (the terms), `choose_T.py` with
`bound_in_T.py`, `penalty.py` with `penalty_toy.py` and `penalty_digits.py`, and for images `image_model.py`,
`image.py`, then `digits.py`, `mnist.py`, `fashion_mnist.py`, `cifar10.py`.
"""

from infolab.signals import stops_end_start

stops_end_start()
