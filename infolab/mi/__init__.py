"""Mutual information of pairs from denoising errors: I(x; y) = 1/2 Int (mse_x - mse_x|y) da."""

from infolab.mi.estimate import mutual_information
from infolab.mi.few import METHOD as FEW
from infolab.mi.settings import FORMS, Information, Settings

__all__ = ["FEW", "FORMS", "Information", "Settings", "mutual_information"]
