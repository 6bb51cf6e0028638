"""Scores. Reads: embeddings, reconstructions, columns of the cells. Writes: scores/, summary/."""


rule find_neighbors:
    """Find the exact neighbours of each cell in {wildcards.model}, seed {wildcards.seed}."""
    input:
        f"{RUN}/cell_embedding.parquet",
    output:
        f"{RUN}/neighbors.parquet",
    log:
        f"{RUN}/logs/neighbors.log",
    benchmark:
        f"{RUN}/logs/neighbors.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: PLAN.resources.threads
    resources:
        mem_mb=memory(PLAN, base=1000, per_input_mb=20),
        runtime=minutes(PLAN, base=10, per_input_gb=600),
    params:
        settings=as_json(PLAN.evaluate, only=["neighbors"]),
        code=code_of("find_neighbors.py"),
    shell:
        "SCLAMP_THREADS={PLAN.resources.threads} {PYTHON} {SCRIPTS:q}/find_neighbors.py"
        " --embedding {input:q} --settings {params.settings:q}"
        " --output {output:q} --code {params.code} > {log:q} 2>&1"


rule describe_expression:
    """Measure what the expression of {wildcards.dataset} says by itself: ingredients of its scores."""
    input:
        cells=f"{DATASET}/cells.h5ad",
        counts=lambda w: PATHS.counts_of_controls(w.dataset),
    output:
        summary=f"{DATASET}/expression.json",
        cells=f"{DATASET}/expression.parquet",
    log:
        f"{DATASET}/logs/expression.log",
    benchmark:
        f"{DATASET}/logs/expression.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=2000, per_input_mb=5),
        runtime=minutes(PLAN, base=20, per_input_gb=60),
    params:
        settings=as_json(PLAN.evaluate, only=["seed"]),
        code=code_of("describe_expression.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/describe_expression.py --cells {input.cells:q} --counts {input.counts:q}"
        " --settings {params.settings:q} --output {output.summary:q} --per-cell {output.cells:q}"
        " --code {params.code} > {log:q} 2>&1"


rule score_integration:
    """Score the embedding of {wildcards.model}, seed {wildcards.seed}: biology kept, batches mixed."""
    input:
        counts=lambda w: PATHS.counts(w.dataset, w.model),
        embedding=f"{RUN}/cell_embedding.parquet",
        neighbors=f"{RUN}/neighbors.parquet",
        reference=PATHS.reference_embedding,
        expression=PATHS.expression,
    output:
        scores=f"{RUN}/scores/integration.parquet",
        replicates=f"{RUN}/replicates.parquet",
        cells=f"{RUN}/cell_scores.parquet",
    log:
        f"{RUN}/logs/integration.log",
    benchmark:
        f"{RUN}/logs/integration.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=2000, per_input_mb=20),
        runtime=minutes(PLAN, base=20, per_input_gb=600),
    params:
        reference=lambda w, input: options("--reference", *input.reference),
        settings=as_json(
            PLAN.evaluate,
            only=[
                "graph_neighbors",
                "resolutions",
                "seed",
                "exact_cells",
                "bootstrap",
            ],
        ),
        code=code_of("score_integration.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/score_integration.py --cells {input.counts:q} --embedding {input.embedding:q}"
        " --neighbors {input.neighbors:q} {params.reference:q}"
        " --expression {input.expression[0]:q} --expression-cells {input.expression[1]:q}"
        " --settings {params.settings:q}"
        " --dataset {wildcards.dataset:q} --model {wildcards.model:q} --seed {wildcards.seed}"
        " --output {output.scores:q} --replicates {output.replicates:q} --per-cell {output.cells:q}"
        " --code {params.code} > {log:q} 2>&1"


rule score_reconstruction:
    """Score the reconstruction of test cells by {wildcards.model}, seed {wildcards.seed}."""
    input:
        reconstruction=f"{RUN}/reconstruction.parquet",
        imputation=f"{RUN}/imputation.parquet",
        variability=f"{RUN}/gene_variability.parquet",
    output:
        f"{RUN}/scores/reconstruction.parquet",
    log:
        f"{RUN}/logs/reconstruction.log",
    benchmark:
        f"{RUN}/logs/reconstruction.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1000, per_input_mb=5),
        runtime=minutes(PLAN, base=5, per_input_gb=10),
    params:
        code=code_of("score_reconstruction.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/score_reconstruction.py --reconstruction {input.reconstruction:q}"
        " --imputation {input.imputation:q} --variability {input.variability:q}"
        " --dataset {wildcards.dataset:q} --model {wildcards.model:q} --seed {wildcards.seed}"
        " --output {output:q} --code {params.code} > {log:q} 2>&1"


rule score_genes:
    """Score the gene embedding of {wildcards.model}, seed {wildcards.seed}: markers, modules, co-expression."""
    input:
        genes=f"{RUN}/gene_embedding.parquet",
        cells=f"{RUN}/cell_embedding.parquet",
        counts=lambda w: PATHS.counts(w.dataset, w.model),
        table=lambda w: PATHS.genes(w.dataset, w.model),
        markers=lambda w: PATHS.markers(w.dataset),
        terms=PATHS.gene_terms(),
    output:
        scores=f"{RUN}/scores/genes.parquet",
        markers=f"{RUN}/gene_markers.parquet",
        modules=f"{RUN}/gene_modules.parquet",
        terms=f"{RUN}/module_terms.parquet",
    log:
        f"{RUN}/logs/score_genes.log",
    benchmark:
        f"{RUN}/logs/score_genes.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=2000, per_input_mb=5),
        runtime=minutes(PLAN, base=15, per_input_gb=60),
    params:
        markers=lambda w, input: options("--markers", *input.markers),
        terms=lambda w, input: options("--terms", *input.terms),
        settings=as_json(PLAN.evaluate, only=["seed", "graph_neighbors"]),
        code=code_of("score_genes.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/score_genes.py --genes {input.genes:q} --cells {input.cells:q}"
        " --counts {input.counts:q} --gene-table {input.table:q} {params.markers:q} {params.terms:q}"
        " --dataset {wildcards.dataset:q} --model {wildcards.model:q} --seed {wildcards.seed}"
        " --settings {params.settings:q} --output {output.scores:q} --gene-markers {output.markers:q}"
        " --modules {output.modules:q} --module-terms {output.terms:q} --code {params.code} > {log:q} 2>&1"


rule summarize_scores:
    """Gather all scores; calibrate them, give them intervals, and compare the models."""
    input:
        scores=PATHS.all_scores,
        replicates=PATHS.all_replicates,
    output:
        tables=multiext(PATHS.scores.removesuffix(".parquet"), ".parquet", ".csv"),
        intervals=multiext(PATHS.intervals.removesuffix(".parquet"), ".parquet", ".csv"),
        comparisons=multiext(
            PATHS.comparisons.removesuffix(".parquet"), ".parquet", ".csv"
        ),
    log:
        f"{OUT}/logs/summary.log",
    benchmark:
        f"{OUT}/logs/summary.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1000, per_input_mb=5),
        runtime=minutes(PLAN, base=5, per_input_gb=10),
    params:
        baseline=options("--baseline", PLAN.pca) if PLAN.pca else [],
        prior_controls=json.dumps(
            [control._asdict() for control in PLAN.prior_controls]
        ),
        code=code_of("summarize_scores.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/summarize_scores.py --scores {input.scores:q} --replicates {input.replicates:q}"
        " {params.baseline:q} --prior-controls {params.prior_controls:q}"
        " --output {output.tables[0]:q} --csv {output.tables[1]:q}"
        " --intervals {output.intervals[0]:q} --comparisons {output.comparisons[0]:q}"
        " --code {params.code} > {log:q} 2>&1"
