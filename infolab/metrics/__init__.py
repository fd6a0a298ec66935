"""Metrics of samples and codes, as functions of arrays; `infolab metrics` has them as commands."""

from infolab.metrics.codes import DCI, TAD, auroc_matrix, binarise, dci, mig, tad
from infolab.metrics.distances import LEAST_FOR_FID, as_features, fid, gaussian_fid, kid, mmd
from infolab.metrics.features import Extractor, Features, Moments, extract, load_moments, moments, save_moments
from infolab.metrics.measured import Measured
from infolab.metrics.networks import SmallNetwork, load_extractor, network_name, train_extractor
from infolab.metrics.probes import Classification, information, latent_classification

__all__ = [
    "DCI",
    "LEAST_FOR_FID",
    "TAD",
    "Classification",
    "Extractor",
    "Features",
    "Measured",
    "Moments",
    "SmallNetwork",
    "as_features",
    "auroc_matrix",
    "binarise",
    "dci",
    "extract",
    "fid",
    "gaussian_fid",
    "information",
    "kid",
    "latent_classification",
    "load_extractor",
    "load_moments",
    "mig",
    "mmd",
    "moments",
    "network_name",
    "save_moments",
    "tad",
    "train_extractor",
]
