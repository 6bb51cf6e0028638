"""Do a cell type's latents point at its marker genes? Proximity of genes and cell types against expression.

In a model whose two latents share a space, expression goes with the product of a cell's and a gene's latent. So a gene
is near a type where its latent has a large dot product with the type's mean latent, less the mean of all cells: what
the type expresses more than other cells. On trained demo models this finds markers at least as well as cosines or
distances do (docs/genes.md). The type's mean is that of its training cells; its markers are those of held-out cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd

from sclamp.core.errors import unknown
from sclamp.data.h5ad import Cells
from sclamp.evaluate.gene_markers import MIN_CELLS, MIN_DIFFERENCE, MIN_SHARE, Differences, differences
from sclamp.evaluate.gene_ranks import auroc, spearman
from sclamp.evaluate.gene_vectors import GeneVectors
from sclamp.evaluate.measure import NotApplicable, Unscorable, measure
from sclamp.evaluate.rows import Cells as CellScope
from sclamp.evaluate.rows import Row

TOP = 20
"""Genes of a type that count as its markers: those with the largest differences in held-out cells."""
SHUFFLES = 20


@dataclass
class Markers:
    """What marker scores are made of.

    genes, embedding (n, k): latents of genes and cells. counts: packed count file, and what `read_cells` read from it,
    of the same n cells. train, held_out (n,): masks. given: columns cell_type, gene_id of a user's list, or None.
    """

    genes: GeneVectors
    embedding: np.ndarray
    counts: str | Path
    cells: Cells
    train: np.ndarray
    held_out: np.ndarray
    given: pd.DataFrame | None
    seed: int

    @cached_property
    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """Names of the cell types and the code of each cell's, -1 where it is missing."""
        if "label" not in self.cells.obs:
            raise NotApplicable("the data set has no label column")
        label = self.cells.obs["label"].astype("category")
        return np.array([str(name) for name in label.cat.categories], dtype=object), label.cat.codes.to_numpy()

    @cached_property
    def proximity(self) -> pd.DataFrame:
        """Cell types (rows, by name) x embedded genes: dot product of the type's centred mean latent and the gene's."""
        genes, (names, codes) = self.genes.vectors, self.labels
        if genes.shape[1] != self.embedding.shape[1]:
            raise NotApplicable(
                f"gene vectors have {genes.shape[1]} dimensions, cell vectors {self.embedding.shape[1]}: they share no "
                "space"
            )
        used = self.train & (codes >= 0)
        cells, own = self.embedding[used].astype(np.float64), codes[used]
        if not np.isfinite(cells).all():
            raise Unscorable("training cells have NaN or infinite values in their embedding")
        types = np.flatnonzero(np.bincount(own, minlength=len(names)) >= MIN_CELLS)
        if len(types) < 2:
            raise NotApplicable(f"{len(types)} cell types have {MIN_CELLS} training cells: at least 2 are needed")
        means = np.array([cells[own == code].mean(axis=0) for code in types]) - cells.mean(axis=0)
        return pd.DataFrame(means @ genes.T, index=names[types], columns=self.genes.ids)

    @cached_property
    def truth(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Of the held-out cells, types x embedded genes: differences, and which genes count as markers."""
        names, codes = self.labels
        if not self.held_out.any():
            raise NotApplicable("no cells are held out")
        found: Differences = differences(self.counts, self.cells, np.where(self.held_out, codes, -1))
        columns = self.cells.var.index.get_indexer(self.genes.ids)
        known = np.isin(names[found.types], self.proximity.index)
        if known.sum() < 2:
            raise NotApplicable(
                f"{known.sum()} cell types have {MIN_CELLS} held-out and {MIN_CELLS} training cells: at least 2 are "
                "needed"
            )
        difference, share = (matrix[known][:, columns] for matrix in (found.difference, found.share))
        passing = np.where((share >= MIN_SHARE) & (difference > MIN_DIFFERENCE), difference, -np.inf)
        best = np.argsort(-passing, axis=1, kind="stable")[:, :TOP]
        positive = np.zeros(passing.shape, bool)
        np.put_along_axis(positive, best, np.isfinite(np.take_along_axis(passing, best, axis=1)), axis=1)
        index = names[found.types][known]
        return pd.DataFrame(difference, index, self.genes.ids), pd.DataFrame(positive, index, self.genes.ids)

    @cached_property
    def listed(self) -> pd.DataFrame:
        """Types x embedded genes: the user's markers, of the types that are on the list and have training cells."""
        if self.given is None:
            raise NotApplicable("no list of marker genes is given (markers)")
        near, names = self.proximity, self.labels[0]
        types = [str(name) for name in self.given["cell_type"].unique()]
        if not set(types) & set(names):
            raise NotApplicable(
                "none of the list's cell types is a label of the data: " + unknown("type", types[0], names)
            )
        pairs = self.given[self.given["cell_type"].isin(near.index) & self.given["gene_id"].isin(near.columns)]
        if pairs.empty:
            raise NotApplicable(
                f"no marker of the list is among the {len(self.genes)} embedded genes and of a type with {MIN_CELLS} "
                "training cells"
            )
        positive = pd.DataFrame(False, near.index[near.index.isin(pairs["cell_type"])], near.columns)
        for pair in pairs.itertuples():
            positive.loc[pair.cell_type, pair.gene_id] = True
        return positive

    def score(self, kind: str, listed: bool, shuffled: bool) -> float:
        """Mean over types of "auroc", "precision" or "spearman"; shuffled: mean over genes dealt out anew."""
        near = self.proximity
        target = self.listed if listed else self.truth[kind != "spearman"]
        scores, wanted = near.loc[target.index].to_numpy(), target.to_numpy()
        if kind != "spearman":
            some = wanted.any(axis=1) & ~wanted.all(axis=1)
            scores, wanted = scores[some], wanted[some]
            if not len(wanted):
                raise NotApplicable("no cell type has markers among the embedded genes")
        compute = {"auroc": auroc, "precision": precision, "spearman": spearman}[kind]
        rng = np.random.default_rng(self.seed)
        orders = [rng.permutation(scores.shape[1]) for _ in range(SHUFFLES)] if shuffled else [slice(None)]
        return float(np.mean([[compute(s[order], w) for s, w in zip(scores, wanted, strict=True)] for order in orders]))

    def table(self) -> pd.DataFrame:
        """Columns of gene_markers.parquet; differences are missing where a type has too few held-out cells."""
        near = self.proximity
        try:
            difference = self.truth[0].reindex(near.index)
        except NotApplicable:
            difference = pd.DataFrame(np.nan, near.index, near.columns)
        parts = []
        for name in near.index:
            values, expressed = near.loc[name].to_numpy(), difference.loc[name].to_numpy()
            rank, order = _places(values), np.argsort(-values, kind="stable")
            by_difference = pd.array(_places(expressed), dtype="Int32")
            by_difference[np.isnan(expressed)] = pd.NA
            columns = {"gene_id": near.columns, "rank": rank, "proximity": values, "difference": expressed}
            parts.append(pd.DataFrame({"cell_type": name, **columns, "difference_rank": by_difference}).iloc[order])
        return pd.concat(parts, ignore_index=True)


def _places(values: np.ndarray) -> np.ndarray:
    """Place of each value from 1, the largest first; equals in their order."""
    places = np.empty(len(values), np.int32)
    places[np.argsort(-values, kind="stable")] = np.arange(1, len(values) + 1)
    return places


def precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Share of positives among the k best scores, k = number of positives, at most TOP.

    Equal scores at the edge count with the share of positives among them, so that the order of genes does not matter.
    """
    k = min(int(positive.sum()), TOP)
    edge = np.sort(scores)[-k]
    above, tied = scores > edge, scores == edge
    return float((positive[above].sum() + (k - above.sum()) * positive[tied].mean()) / k)


def score_markers(markers: Markers) -> list[Row]:
    """Scores marker_auroc, marker_precision, marker_spearman, given_marker_auroc and given_marker_precision.

    Each stands beside its value with genes dealt out anew, NAME_shuffled.
    """
    near = "dot products of types' and genes' latents, mean over types"
    others = "differences of expression in held-out cells"
    top = f"; markers: the {TOP} largest {others}"
    listed = "; markers: the given list"
    at = f"precision at the number of markers, at most {TOP}, of {near}"
    metrics: dict[str, tuple[str, bool, str, CellScope]] = {
        "marker_auroc": ("auroc", False, f"AUROC of {near}{top}", "held_out"),
        "marker_precision": ("precision", False, f"{at}{top}", "held_out"),
        "marker_spearman": ("spearman", False, f"Spearman over genes of {near} and {others}", "held_out"),
        "given_marker_auroc": ("auroc", True, f"AUROC of {near}{listed}", "all"),
        "given_marker_precision": ("precision", True, f"{at}{listed}", "all"),
    }
    return [
        Row(scope, "genes", measure(name + tail, text + why, partial(markers.score, kind, of_list, bool(tail))))
        for name, (kind, of_list, text, scope) in metrics.items()
        for tail, why in (("", ""), ("_shuffled", f"; genes dealt out anew, mean of {SHUFFLES} times"))
    ]
