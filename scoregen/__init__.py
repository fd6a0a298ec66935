"""Li, Li, Zhang, Bian 2023: early stopping, capacity and distant modes of score-based models.

Read `plain.py` first: the method in one file of 200 lines at most, which `python -m scoregen.plain` runs. Then
`network.py`, `batch.py` and `infolab/kl.py` (the networks, how they train side by side, their exact KL), `mixture.py`,
`capacity.py`, `features.py`, `samples.py`, and for images `clusters_model.py`, `clusters.py`, `digit_clusters.py`.
"""

from infolab.signals import stops_end_start

stops_end_start()
