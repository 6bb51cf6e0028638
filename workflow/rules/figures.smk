"""Figures. Reads: tables only. Writes: figures/*.png and *.svg."""


rule layout_umap:
    """Lay out {wildcards.model}, seed {wildcards.seed}, in two dimensions from its neighbour graph."""
    input:
        f"{RUN}/neighbors.parquet",
    output:
        f"{RUN}/umap.parquet",
    log:
        f"{RUN}/logs/umap.log",
    benchmark:
        f"{RUN}/logs/umap.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1500, per_input_mb=10),
        runtime=minutes(PLAN, base=15, per_input_gb=30),
    params:
        settings=as_json(PLAN.figures, only=["max_cells"]),
        code=code_of("layout_umap.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/layout_umap.py --neighbors {input:q} --settings {params.settings:q}"
        " --output {output:q} --code {params.code} > {log:q} 2>&1"


rule plot_umap:
    """Draw the UMAP of {wildcards.model}, seed {wildcards.seed}: labels, batches, split, scores of cells."""
    input:
        umap=f"{RUN}/umap.parquet",
        counts=lambda w: PATHS.counts(w.dataset, w.model),
        scores=f"{RUN}/cell_scores.parquet",
    output:
        f"{RUN}/figures/umap.png",
        f"{RUN}/figures/umap.svg",
    log:
        f"{RUN}/logs/plot_umap.log",
    benchmark:
        f"{RUN}/logs/plot_umap.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1500, per_input_mb=5),
        runtime=minutes(PLAN, base=10, per_input_gb=10),
    params:
        settings=as_json(PLAN.figures, only=["dpi"]),
        code=code_of("plot_umap.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/plot_umap.py --umap {input.umap:q} --cells {input.counts:q}"
        " --cell-scores {input.scores:q}"
        " --title {wildcards.model:q} --settings {params.settings:q}"
        " --output {output[0]:q} --code {params.code} > {log:q} 2>&1"


rule plot_training:
    """Draw the training curves of {wildcards.model}, seed {wildcards.seed}."""
    input:
        f"{RUN}/history.parquet",
    output:
        f"{RUN}/figures/training.png",
        f"{RUN}/figures/training.svg",
    log:
        f"{RUN}/logs/plot_training.log",
    benchmark:
        f"{RUN}/logs/plot_training.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1000, per_input_mb=1),
        runtime=minutes(PLAN, base=5, per_input_gb=1),
    params:
        settings=as_json(PLAN.figures, only=["dpi"]),
        code=code_of("plot_training.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/plot_training.py --history {wildcards.model:q}={input:q}"
        " --settings {params.settings:q} --output {output[0]:q} --code {params.code} > {log:q} 2>&1"


rule plot_genes:
    """Draw the gene embedding of {wildcards.model}, seed {wildcards.seed}, with marker genes."""
    input:
        embedding=f"{RUN}/gene_embedding.parquet",
        counts=lambda w: PATHS.counts(w.dataset, w.model),
        genes=lambda w: PATHS.genes(w.dataset, w.model),
        markers=lambda w: PATHS.markers(w.dataset),
    output:
        f"{RUN}/figures/genes.png",
        f"{RUN}/figures/genes.svg",
    log:
        f"{RUN}/logs/plot_genes.log",
    benchmark:
        f"{RUN}/logs/plot_genes.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1500, per_input_mb=5),
        runtime=minutes(PLAN, base=10, per_input_gb=10),
    params:
        markers=lambda w, input: options("--markers", *input.markers),
        settings=as_json(PLAN.figures, only=["dpi", "marker_genes"]),
        code=code_of("plot_genes.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/plot_genes.py --embedding {input.embedding:q} --counts {input.counts:q}"
        " --genes {input.genes:q} {params.markers:q} --settings {params.settings:q}"
        " --output {output[0]:q} --code {params.code} > {log:q} 2>&1"


rule plot_scores:
    """Draw the score table of {wildcards.dataset}."""
    input:
        scores=PATHS.scores,
        intervals=PATHS.intervals,
    output:
        f"{OUT}/figures/{{dataset}}/scores.png",
        f"{OUT}/figures/{{dataset}}/scores.svg",
    log:
        f"{DATASET}/logs/plot_scores.log",
    benchmark:
        f"{DATASET}/logs/plot_scores.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1000, per_input_mb=5),
        runtime=minutes(PLAN, base=5, per_input_gb=1),
    params:
        baseline=options("--baseline", PLAN.pca) if PLAN.pca else [],
        settings=as_json(PLAN.figures, only=["dpi"]),
        code=code_of("plot_scores.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/plot_scores.py --scores {input.scores:q} --intervals {input.intervals:q}"
        " --dataset {wildcards.dataset:q} {params.baseline:q}"
        " --settings {params.settings:q} --output {output[0]:q} --code {params.code} > {log:q} 2>&1"


rule plot_ranking:
    """Draw the calibrated ranking of the models on {wildcards.dataset}."""
    input:
        PATHS.intervals,
    output:
        f"{OUT}/figures/{{dataset}}/ranking.png",
        f"{OUT}/figures/{{dataset}}/ranking.svg",
    log:
        f"{DATASET}/logs/plot_ranking.log",
    benchmark:
        f"{DATASET}/logs/plot_ranking.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1000, per_input_mb=5),
        runtime=minutes(PLAN, base=5, per_input_gb=5),
    params:
        baseline=options("--baseline", PLAN.pca) if PLAN.pca else [],
        settings=as_json(PLAN.figures, only=["dpi"]),
        code=code_of("plot_ranking.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/plot_ranking.py --intervals {input:q} --dataset {wildcards.dataset:q} {params.baseline:q}"
        " --settings {params.settings:q} --output {output[0]:q} --code {params.code} > {log:q} 2>&1"


rule plot_prior_benefit:
    """Draw what gene priors add over their controls on {wildcards.dataset}."""
    input:
        PATHS.comparisons,
    output:
        f"{OUT}/figures/{{dataset}}/prior_benefit.png",
        f"{OUT}/figures/{{dataset}}/prior_benefit.svg",
    log:
        f"{DATASET}/logs/plot_prior_benefit.log",
    benchmark:
        f"{DATASET}/logs/plot_prior_benefit.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1000, per_input_mb=5),
        runtime=minutes(PLAN, base=5, per_input_gb=5),
    params:
        settings=as_json(PLAN.figures, only=["dpi"]),
        code=code_of("plot_prior_benefit.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/plot_prior_benefit.py --comparisons {input:q} --dataset {wildcards.dataset:q}"
        " --settings {params.settings:q} --output {output[0]:q} --code {params.code} > {log:q} 2>&1"


rule plot_reconstruction:
    """Draw measured against reconstructed and imputed expression of {wildcards.model}, seed {wildcards.seed}."""
    input:
        pairs=f"{RUN}/reconstruction_pairs.parquet",
        reconstruction=f"{RUN}/reconstruction.parquet",
        imputation=f"{RUN}/imputation.parquet",
    output:
        f"{RUN}/figures/reconstruction.png",
        f"{RUN}/figures/reconstruction.svg",
    log:
        f"{RUN}/logs/plot_reconstruction.log",
    benchmark:
        f"{RUN}/logs/plot_reconstruction.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1000, per_input_mb=5),
        runtime=minutes(PLAN, base=5, per_input_gb=5),
    params:
        settings=as_json(PLAN.figures, only=["dpi"]),
        code=code_of("plot_reconstruction.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/plot_reconstruction.py --pairs {input.pairs:q} --reconstruction {input.reconstruction:q}"
        " --imputation {input.imputation:q} --title {wildcards.model:q}"
        " --settings {params.settings:q} --output {output[0]:q} --code {params.code} > {log:q} 2>&1"


rule plot_markers:
    """Draw the genes nearest to each cell type of {wildcards.model}, seed {wildcards.seed}."""
    input:
        markers=f"{RUN}/gene_markers.parquet",
        counts=lambda w: PATHS.counts(w.dataset, w.model),
        genes=lambda w: PATHS.genes(w.dataset, w.model),
    output:
        f"{RUN}/figures/markers.png",
        f"{RUN}/figures/markers.svg",
    log:
        f"{RUN}/logs/plot_markers.log",
    benchmark:
        f"{RUN}/logs/plot_markers.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1500, per_input_mb=5),
        runtime=minutes(PLAN, base=5, per_input_gb=5),
    params:
        settings=as_json(PLAN.figures, only=["dpi"]),
        code=code_of("plot_markers.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/plot_markers.py --gene-markers {input.markers:q} --counts {input.counts:q}"
        " --genes {input.genes:q} --title {wildcards.model:q}"
        " --settings {params.settings:q} --output {output[0]:q} --code {params.code} > {log:q} 2>&1"


rule plot_modules:
    """Draw the gene modules of {wildcards.model}, seed {wildcards.seed}."""
    input:
        embedding=f"{RUN}/gene_embedding.parquet",
        modules=f"{RUN}/gene_modules.parquet",
        terms=f"{RUN}/module_terms.parquet",
        genes=lambda w: PATHS.genes(w.dataset, w.model),
    output:
        f"{RUN}/figures/modules.png",
        f"{RUN}/figures/modules.svg",
    log:
        f"{RUN}/logs/plot_modules.log",
    benchmark:
        f"{RUN}/logs/plot_modules.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1500, per_input_mb=5),
        runtime=minutes(PLAN, base=5, per_input_gb=5),
    params:
        settings=as_json(PLAN.figures, only=["dpi"]),
        code=code_of("plot_modules.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/plot_modules.py --embedding {input.embedding:q} --modules {input.modules:q}"
        " --module-terms {input.terms:q} --genes {input.genes:q} --title {wildcards.model:q}"
        " --settings {params.settings:q} --output {output[0]:q} --code {params.code} > {log:q} 2>&1"


rule plot_cost:
    """Draw run time and memory of each rule."""
    input:
        PATHS.scores,
        PATHS.all_embedded,
    output:
        f"{OUT}/figures/cost.png",
        f"{OUT}/figures/cost.svg",
    log:
        f"{OUT}/logs/plot_cost.log",
    benchmark:
        f"{OUT}/logs/plot_cost.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1000, per_input_mb=5),
        runtime=minutes(PLAN, base=5, per_input_gb=5),
    params:
        results=OUT,
        settings=as_json(PLAN.figures, only=["dpi"]),
        code=code_of("plot_cost.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/plot_cost.py --results {params.results:q}"
        " --settings {params.settings:q} --output {output[0]:q} --code {params.code} > {log:q} 2>&1"
