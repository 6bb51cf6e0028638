"""A Methods paragraph that says what was really done, ready to paste, with the works to cite."""

from __future__ import annotations

from typing import Any

from sclamp.report import methods_models, methods_scores
from sclamp.report.methods_scores import Computed, Statistics
from sclamp.report.plan import Plan
from sclamp.report.references import Citations
from sclamp.report.words import joined

SELECTIONS = {
    "seurat_v3": ("the variance of standardised counts (seurat_v3)", "seurat_v3"),
    "seurat_v3_paper": ("the variance of standardised counts (seurat_v3_paper)", "seurat_v3"),
    "seurat": ("normalised dispersion (seurat)", "seurat"),
    "cell_ranger": ("normalised dispersion (cell_ranger)", "cell_ranger"),
}

NO_STATISTICS = Statistics()


def methods(
    plan: Plan,
    sizes: dict[str, tuple[str, str]],
    computed: Computed,
    versions: dict[str, str],
    tested: Statistics = NO_STATISTICS,
) -> tuple[list[str], list[str]]:
    """The paragraphs and the references: (list of text, list of text).

    sizes: data set -> (cells, genes) after quality control, as far as known. computed: scores that have a value.
    versions: package -> version. tested: which statistics were made of the scores.
    """
    cite = Citations()
    paragraphs = [
        _data(plan, sizes, cite),
        _genes(plan, cite),
        _priors(plan, cite),
        methods_models.models(plan, cite, versions),
        methods_scores.scores(plan, computed, cite),
        methods_scores.labels(computed, cite),
        methods_scores.genes(plan, computed, cite),
        methods_scores.controls(plan, cite, tested) if computed else "",
        _software(versions, cite),
    ]
    return [text for text in paragraphs if text], cite.listed


def _data(plan: Plan, sizes: dict[str, tuple[str, str]], cite: Citations) -> str:
    sentences = []
    for name, settings in plan.datasets.items():
        quality, split = settings.get("quality", {}), settings.get("split", {})
        limits = joined([
            *([f"at least {quality['min_counts']} counts"] if quality.get("min_counts", 0) > 1 else []),
            *([f"at least {quality['min_genes']} genes"] if quality.get("min_genes") else []),
            *([f"at most {quality['max_genes']} genes"] if quality.get("max_genes") else []),
            *([f"at most {quality['max_mito_share']:.0%} mitochondrial"] if quality.get("max_mito_share") else []),
        ])  # fmt: skip
        kept = "Quality control kept "
        if limits:
            kept += f"cells with {limits}, and "
        kept += f"genes seen in at least {quality.get('min_cells', 0)} cells"
        if name in sizes:
            kept += f", leaving {sizes[name][0]} cells and {sizes[name][1]} genes of {name}"
        sentences.append(f"{kept}. {_split(split)}")
    norm = next(iter(plan.datasets.values()), {}).get("normalization", {})
    if norm:
        words = f"Counts were scaled to {norm['target_sum']:,.0f} per cell"
        words += " and transformed by log(1 + x)" if norm.get("log1p") else ""
        scaled = any(m.settings.get("input") == "scaled" for m in plan.models.values())
        if scaled:
            words += "; models read z-scores with the mean and standard deviation of the training cells"
            words += f", clipped at ±{norm['clip']:g}" if norm.get("clip") else ""
        sentences.append(words + ".")
    return " ".join([f"Data were kept as AnnData {cite('anndata')}.", *sentences])


def _split(split: dict[str, Any]) -> str:
    if split.get("column"):
        return f"Training, validation and test cells were given by the column '{split['column']}'."
    shares = f"{split.get('val_share', 0):.0%} of the cells to validate, {split.get('test_share', 0):.0%} to test"
    how = {
        "stratified": "at random, keeping the shares of the cell types",
        "random": "at random",
        "hold_out": f"by holding out {joined(split.get('hold_out') or ['whole batches'])}",
    }.get(split.get("strategy", ""), "")
    return f"Cells were split {how} ({shares}; seed {split.get('seed', 0)})."


def _genes(plan: Plan, cite: Citations) -> str:
    sentences = []
    for name, selection in plan.gene_selections.items():
        flavor = selection.get("flavor", "")
        if flavor in SELECTIONS:
            words, work = SELECTIONS[flavor]
            cells = "the training cells" if selection.get("cells") == "train" else "all cells"
            within = ", ranked within each batch" if selection.get("batch_aware") else ""
            sentences.append(
                f"The {selection['n_genes']:,} most variable genes ('{name}') were chosen by {words} on "
                f"{cells}{within}, as in scanpy {cite('scanpy', work)}."
            )
        elif flavor == "all":
            sentences.append(f"The selection '{name}' holds all genes.")
        else:
            sentences.append(f"The selection '{name}' is a given list of genes.")
    return " ".join(sentences)


def _priors(plan: Plan, cite: Citations) -> str:
    words = []
    for name, prior in plan.gene_priors.items():
        source = prior.get("source")
        if source == "text":
            works = ["sentence_transformers"] + (["minilm"] if "minilm" in str(prior.get("model", "")).lower() else [])
            words.append(f"'{name}', descriptions of genes embedded with {prior.get('model')} {cite(*works)}")
        elif source == "protein":
            words.append(f"'{name}', proteins embedded with {prior.get('model')} {cite('esm2')}, mean over residues")
        elif source == "file":
            words.append(f"'{name}', gene embeddings read from {str(prior.get('path')).rsplit('/', 1)[-1]}")
        elif source == "expression":
            words.append(f"'{name}', right singular vectors of the training cells' expression")
        elif source == "onehot":
            words.append(f"'{name}', one-hot vectors of genes (a control)")
        elif source in {"shuffled", "gaussian"}:
            how = "dealt to random genes" if source == "shuffled" else "replaced by Gaussian vectors of equal moments"
            words.append(f"'{name}', the vectors of '{prior.get('of')}' {how} (a control)")
    return f"Gene priors: {'; '.join(words)}." if words else ""


def _software(versions: dict[str, str], cite: Citations) -> str:
    named = [f"{name} {version}" for name, version in versions.items()]
    return f"The workflow ran under Snakemake {cite('snakemake')} with {joined(named)}." if named else ""
