"""What the files of a crate are, for those who meet them without the workflow."""

from __future__ import annotations

from pathlib import PurePosixPath

from sclamp.provenance.trace import Step

PARQUET = "https://parquet.apache.org/docs/file-format/"
MEDIA = {
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".json": "application/json",
    ".html": "text/html",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".h5ad": "application/x-hdf5",
    ".pt": "application/zip",
}
WHAT = {
    "report": "Report of the whole run, one file that opens offline",
    "scores": "Scores of all runs, raw and calibrated",
    "intervals": "Each score over seeds, with intervals and ranks",
    "comparisons": "Paired differences between models, with intervals and corrected p",
    "cell_embedding": "Embedding of the cells: cell_id, embedding",
    "gene_embedding": "Embedding of the genes: gene_id, embedding",
    "embedded": "All embeddings of a data set in one AnnData (obsm, varm), with counts and obs",
    "cells": "Counts after quality control, as AnnData",
    "checks": "What was checked and found in a data set",
    "history": "Training curves, one row per epoch",
    "model": "Checkpoint of a trained model: torch.load(..., weights_only=True) opens it",
    "umap": "Two-dimensional layout of the cells",
    "neighbors": "Exact nearest neighbours of each cell",
    "gene_statistics": "Mean, variance and quantiles of each gene",
}


def formats(name: str) -> tuple[str, bool]:
    """Media type of a file, and whether it is a Parquet file."""
    suffix = PurePosixPath(name).suffix.lower()
    return MEDIA.get(suffix, "application/octet-stream"), suffix == ".parquet"


def description(step: Step) -> str:
    """One sentence on a file: what it is, and which script wrote it."""
    path = PurePosixPath(step.name)
    what = WHAT.get(path.stem) or {"figures": "Figure", "scores": "Scores of one run"}.get(path.parent.name)
    by = f", written by {step.made['script']}" if step.made.get("script") else ", an input of the workflow"
    return f"{what or path.stem.replace('_', ' ')}{by}."
