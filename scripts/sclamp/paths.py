"""Where every artefact of a plan lies, and which of them a job reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sclamp.core.download import is_address
from sclamp.workflow import Plan

MTX_FILES = ("matrix", "barcodes", "features", "genes")


class Paths:
    """File names of one plan; those with braces are patterns for the rules, methods take a rule's wildcards."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.out = plan.output.rstrip("/")
        self.dataset = f"{self.out}/datasets/{{dataset}}"
        self.run = f"{self.dataset}/models/{{model}}/seed_{{seed}}"
        self.report = f"{self.out}/report.html"
        self.scores = f"{self.out}/summary/scores.parquet"
        self.intervals = f"{self.out}/summary/intervals.parquet"
        self.comparisons = f"{self.out}/summary/comparisons.parquet"
        self.provenance = f"{self.out}/provenance.json"
        self.crate = f"{self.out}/crate.zip"

    # --- data -------------------------------------------------------------------------------------------------------

    def raw_files(self, wildcards: Any) -> list[str]:
        """The user's files of a dataset; none for an https address."""
        files: list[str] = []
        for path in self.plan.datasets[wildcards.dataset].paths:
            if is_address(path):
                continue
            folder = Path(path)
            inside = sorted(str(p) for p in folder.iterdir()) if folder.is_dir() else [path]
            files += [f for f in inside if f == path or Path(f).name.startswith(MTX_FILES)]
        return files

    def cells(self, dataset: str) -> str:
        """Quality-controlled counts of a dataset."""
        return f"{self.out}/datasets/{dataset}/cells.h5ad"

    def genes(self, dataset: str, model: str) -> str:
        """Table of the genes that a model (or control) reads."""
        return f"{self.out}/datasets/{dataset}/genes/{self._selection(model)}.parquet"

    def counts(self, dataset: str, model: str) -> str:
        """Packed counts of the genes that a model (or control) reads."""
        return f"{self.out}/datasets/{dataset}/genes/{self._selection(model)}.h5ad"

    def counts_of_controls(self, dataset: str) -> str:
        """Packed counts of the genes by which a dataset is described on its own."""
        return f"{self.out}/datasets/{dataset}/genes/{self.plan.selection_of_controls}.h5ad"

    def _selection(self, model: str) -> str:
        if model in self.plan.models:
            return self.plan.model(model).settings.genes
        return self.plan.selection_of_controls

    # --- gene priors ------------------------------------------------------------------------------------------------

    def source_files(self, prior: str) -> list[str]:
        """The user's files that a gene prior is made of; none for an https address."""
        settings = self.plan.gene_priors[prior]
        fields = (getattr(settings, key, None) for key in ("table", "fasta", "path", "vocabulary"))
        return [str(value) for value in fields if value and not is_address(str(value))]

    def matching_files(self, prior: str) -> list[str]:
        """Tables of aliases and orthologs that matching a gene prior reads."""
        matching = self.plan.gene_priors[prior].matching
        return [path for path in (matching.aliases, matching.orthologs) if path]

    def prior_before_matching(self, prior: str) -> list[str]:
        """The global gene prior that is matched to a dataset; none when the dataset itself is the source."""
        return [] if self.plan.prior_of_dataset(prior) else [f"{self.out}/gene_priors/{prior}.parquet"]

    def matched_parent(self, dataset: str, selection: str, prior: str) -> list[str]:
        """The matched prior that a control is made of: the same vectors, so the same coverage."""
        parent = self.plan.parent(prior)
        return [f"{self.out}/datasets/{dataset}/gene_priors/{selection}/{parent}.parquet"] if parent else []

    def matched_priors(self, wildcards: Any) -> dict[str, str]:
        """Name -> matched gene prior, for the priors that a model reads."""
        model = self.plan.model(wildcards.model)
        folder = f"{self.out}/datasets/{wildcards.dataset}/gene_priors/{model.settings.genes}"
        return {name: f"{folder}/{name}.parquet" for name in model.gene_priors}

    # --- runs -------------------------------------------------------------------------------------------------------

    def of_run(self, name: str, dataset: str, model: str, seed: int | str) -> str:
        """A file of one run."""
        return f"{self.run}/{name}".format(dataset=dataset, model=model, seed=seed)

    def warm_start(self, wildcards: Any) -> list[str]:
        """The model that a run starts from."""
        before = self.plan.model(wildcards.model).warm_start
        return [self.of_run("model.pt", wildcards.dataset, before, wildcards.seed)] if before else []

    def read_embedding(self, wildcards: Any) -> list[str]:
        """The embedding by another model that a run reads instead of expression."""
        of = self.plan.model(wildcards.model).embedding_of
        return [self.of_run("cell_embedding.parquet", wildcards.dataset, of, wildcards.seed)] if of else []

    def reference_embedding(self, wildcards: Any) -> list[str]:
        """Principal components of the same dataset, which some scores compare with."""
        pca = self.plan.pca
        return [self.of_run("cell_embedding.parquet", wildcards.dataset, pca, wildcards.seed)] if pca else []

    def expression(self, wildcards: Any) -> list[str]:
        """What the expression of a dataset says by itself: ingredients of scores, made once."""
        folder = f"{self.out}/datasets/{wildcards.dataset}"
        return [f"{folder}/expression.json", f"{folder}/expression.parquet"]

    def embedding_of_control(self, wildcards: Any) -> list[str]:
        """The principal components that a control deals out anew; none for other controls."""
        return self.reference_embedding(wildcards) if wildcards.control.startswith("shuffled") else []

    def left_out_priors(self, wildcards: Any) -> dict[str, str]:
        """Name -> matched gene prior without the left-out genes, for the priors that a model reads."""
        model = self.plan.model(wildcards.model)
        folder = f"{self.out}/datasets/{wildcards.dataset}/left_out/{model.settings.genes}/seed_{wildcards.seed}"
        return {name: f"{folder}/{name}.parquet" for name in model.gene_priors}

    def gene_terms(self) -> list[str]:
        """The user's annotation of genes."""
        return [self.plan.evaluate.gene_terms] if self.plan.evaluate.gene_terms else []

    def of_every_run(self, name: str, models: Iterable[str], dataset: str | None = None) -> list[str]:
        """One file of each run of these models."""
        datasets = [dataset] if dataset else list(self.plan.datasets)
        return [self.of_run(name, d, m, s) for d in datasets for m in models for s in self.plan.seeds]

    def named_runs(self, dataset: str) -> list[str]:
        """NAME=FOLDER of every run of a dataset that embeds cells, phases of chained models included."""
        return [f"{m}={self.of_run('', dataset, m, s)}" for m in self.plan.embedders for s in self.plan.seeds]

    def markers(self, dataset: str) -> list[str]:
        """The user's table of marker genes of a dataset."""
        return [self.plan.markers[dataset]] if dataset in self.plan.markers else []

    # --- targets ----------------------------------------------------------------------------------------------------

    @property
    def all_checks(self) -> list[str]:
        """The check of every dataset."""
        return [f"{self.out}/datasets/{d}/checks.json" for d in self.plan.datasets]

    @property
    def all_gene_statistics(self) -> list[str]:
        """Statistics of the genes of each dataset, and of several datasets together."""
        of_each = self.gene_statistics_of_each
        return [*of_each, f"{self.out}/summary/gene_statistics.parquet"] if len(of_each) > 1 else of_each

    @property
    def gene_statistics_of_each(self) -> list[str]:
        """Statistics of the genes of each dataset."""
        return [f"{self.out}/datasets/{d}/gene_statistics.parquet" for d in self.plan.datasets]

    @property
    def all_embedded(self) -> list[str]:
        """One AnnData per dataset with every embedding."""
        return [f"{self.out}/datasets/{d}/embedded.h5ad" for d in self.plan.datasets]

    @property
    def all_held_out(self) -> list[str]:
        """Losses of every trained model on validation and on test cells."""
        models = self.plan.names(gradient=True)
        return self.of_every_run("validation.parquet", models) + self.of_every_run("test.parquet", models)

    @property
    def all_scores(self) -> list[str]:
        """Every score table."""
        plan = self.plan
        scores = self.of_every_run("scores/integration.parquet", plan.scored + plan.controls)
        scores += self.of_every_run("scores/reconstruction.parquet", plan.scored)
        scores += self.of_every_run("scores/classification.parquet", plan.classifiers)
        scores += self.of_every_run("scores/genes.parquet", self.with_genes)
        return scores + self.of_every_run("scores/left_out_genes.parquet", plan.left_out)

    @property
    def all_replicates(self) -> list[str]:
        """Every table of resampled scores."""
        plan = self.plan
        of_labels = self.of_every_run("classification_replicates.parquet", plan.classifiers)
        return self.of_every_run("replicates.parquet", plan.scored + plan.controls) + of_labels

    @property
    def all_figures(self) -> list[str]:
        """Every figure."""
        plan = self.plan
        figures = self.of_every_run("figures/umap.png", plan.scored)
        figures += self.of_every_run("figures/training.png", plan.names(gradient=True))
        figures += self.of_every_run("figures/reconstruction.png", plan.scored)
        figures += self.of_every_run("figures/classification.png", plan.classifiers)
        figures += self.of_every_run("figures/genes.png", self.with_genes)
        figures += self.of_every_run("figures/modules.png", self.with_genes)
        figures += self.of_every_run("figures/markers.png", self.with_genes)
        for kind in ("scores", "ranking", *(["prior_benefit"] if plan.prior_controls else [])):
            figures += [f"{self.out}/figures/{d}/{kind}.png" for d in plan.datasets]
        return [*figures, f"{self.out}/figures/cost.png"]

    @property
    def with_genes(self) -> list[str]:
        """Scored models that read gene priors, and so embed genes."""
        return [name for name in self.plan.scored if self.plan.models[name].gene_priors]

    @property
    def named_files(self) -> dict[str, tuple[str, ...]]:
        """Key of the configuration -> the files, folders and addresses that it names."""
        named = {f"datasets.{d}.path": s.paths for d, s in self.plan.datasets.items()}
        for prior in self.plan.gene_priors:
            named[f"gene_priors.{prior}"] = tuple(self.source_files(prior) + self.matching_files(prior))
        for name, selection in self.plan.gene_selections.items():
            named[f"gene_selections.{name}.file"] = (selection.file,) if selection.file else ()
        named |= {f"markers.{d}": (path,) for d, path in self.plan.markers.items()}
        named["evaluate.gene_terms"] = tuple(self.gene_terms())
        return named

    @property
    def own_files(self) -> list[str]:
        """The user's files and folders that the configuration names."""
        named = {path for paths in self.named_files.values() for path in paths}
        return sorted(path for path in named if not is_address(path))

    def missing_files(self) -> list[str]:
        """One sentence for each file that the configuration names and that does not exist."""
        from sclamp.core.errors import did_you_mean

        problems = []
        for key, paths in self.named_files.items():
            for path in paths:
                if is_address(path) or Path(path).exists():
                    continue
                folder = Path(path).parent
                beside = [str(p) for p in folder.iterdir()] if folder.is_dir() else []
                problems.append(f"{key}: '{path}' does not exist{did_you_mean(path, beside)}")
        return problems
