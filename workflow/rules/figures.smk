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
    """Draw the UMAP of {wildcards.model}, seed {wildcards.seed}, by label, batch and split."""
    input:
        umap=f"{RUN}/umap.parquet",
        counts=lambda w: PATHS.counts(w.dataset, w.model),
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
        PATHS.scores,
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
        "{PYTHON} {SCRIPTS:q}/plot_scores.py --scores {input:q} --dataset {wildcards.dataset:q} {params.baseline:q}"
        " --settings {params.settings:q} --output {output[0]:q} --code {params.code} > {log:q} 2>&1"
