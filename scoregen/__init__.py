"""Li, Li, Zhang, Bian 2023: early stopping, capacity and distant modes of score-based models.

Read `plain.py` first: the method in one file of 200 lines at most, which `python -m scoregen.plain` runs. Then
`network.py`, `density.py`, `settings.py` and `batch.py` (the networks, their exact KL, how they train side by side),
`mixture.py`, `capacity.py`, `features.py` with `gradient_flow.py`, `samples.py`, `kl.py`, for images `clusters*.py`,
`digit_clusters.py` and `replication.py`.
"""

from infolab.signals import stops_end_start

stops_end_start()
