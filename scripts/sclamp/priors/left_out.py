"""Which genes of a selection are left out of a training, to be predicted through their gene prior alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from sclamp.core.errors import UserError

STRATUM = 50
"""Neighbours in mean expression among which genes are drawn."""


def left_out_genes(gene_ids: Sequence[str], expression: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Mask (genes,) of round(share x genes) genes, drawn alike among weakly and strongly expressed ones.

    expression: mean of each gene. Genes are sorted by it and cut into strata; in each the genes with the smallest
    digests of seed and gene id are drawn. So the draw depends on the genes, their expression and the seed, not on their
    order, nor on any gene prior or model.
    """
    ids = np.asarray(gene_ids, dtype=object)
    order = np.lexsort((ids.astype(str), expression))
    mask = np.zeros(len(ids), dtype=bool)
    drawn = 0
    for start in range(0, len(ids), STRATUM):
        stratum = order[start : start + STRATUM]
        until = round(share * min(start + STRATUM, len(ids)))
        mask[sorted(stratum, key=lambda gene: _digest(seed, str(ids[gene])))[: until - drawn]] = True
        drawn = until
    return mask


def kept_rows(path: str, prior_ids: np.ndarray, gene_ids: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Mask of the prior's rows whose gene stays. gene_ids, left_out: the selection's genes, and a mask of them.

    Errors: genes of the prior outside the selection; a prior with vectors for none of the genes that leave, or stay.
    """
    unknown = sorted(set(prior_ids) - set(gene_ids))
    if unknown:
        raise UserError(
            f"{path}: {len(unknown)} of its {len(prior_ids)} genes, such as '{unknown[0]}', are not among the "
            f"{len(gene_ids)} of --counts; expected a prior that match_gene_prior.py matched to this gene selection."
        )
    gone = set(gene_ids[left_out])
    stays = np.array([gene not in gone for gene in prior_ids], dtype=bool)
    if stays.all() or not stays.any():
        raise UserError(
            f"--share: {left_out.sum()} of {len(gene_ids)} genes are left out, which takes {(~stays).sum()} of the "
            f"{len(prior_ids)} vectors of {path}; some must go and some must stay."
        )
    return stays


def _digest(seed: int, gene: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{gene}".encode(), digest_size=8).digest()
