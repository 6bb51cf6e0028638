"""Embeddings of cells and genes. Reads: models, counts. Writes: *_embedding.parquet, embedded.h5ad."""


rule export_embeddings:
    """Embed the cells and genes of {wildcards.dataset} with {wildcards.model}, seed {wildcards.seed}."""
    input:
        model=f"{RUN}/model.pt",
        counts=lambda w: PATHS.counts(w.dataset, w.model),
    output:
        cells=f"{RUN}/cell_embedding.parquet",
        genes=f"{RUN}/gene_embedding.parquet",
        reconstruction=f"{RUN}/reconstruction.parquet",
        imputation=f"{RUN}/imputation.parquet",
        pairs=f"{RUN}/reconstruction_pairs.parquet",
        variability=f"{RUN}/gene_variability.parquet",
    log:
        f"{RUN}/logs/export.log",
    benchmark:
        f"{RUN}/logs/export.benchmark.tsv"
    wildcard_constraints:
        model=one_of(PLAN.embedders),
    conda:
        "../../envs/sclamp.yaml"
    threads: PLAN.resources.threads
    resources:
        mem_mb=memory(PLAN, base=2500, per_input_mb=20),
        runtime=minutes(PLAN, base=15, per_input_gb=30),
    params:
        layout=PLAN.export.layout,
        masked_share=PLAN.evaluate.masked_share,
        code=lambda w: code_of("export_embeddings.py", PLAN.model(w.model).mode),
    shell:
        "SCLAMP_THREADS={PLAN.resources.threads} {PYTHON} {SCRIPTS:q}/export_embeddings.py"
        " --model {input.model:q} --counts {input.counts:q}"
        " --cells {output.cells:q} --genes {output.genes:q} --reconstruction {output.reconstruction:q}"
        " --imputation {output.imputation:q} --pairs {output.pairs:q} --variability {output.variability:q}"
        " --masked-share {params.masked_share} --seed {wildcards.seed}"
        " --layout {params.layout} --code {params.code} > {log:q} 2>&1"


rule embed_control:
    """Make control '{wildcards.control}' for {wildcards.dataset}, seed {wildcards.seed}."""
    input:
        counts=lambda w: PATHS.counts(w.dataset, f"control_{w.control}"),
        of=PATHS.embedding_of_control,
    output:
        f"{DATASET}/models/control_{{control}}/seed_{{seed}}/cell_embedding.parquet",
    log:
        f"{DATASET}/models/control_{{control}}/seed_{{seed}}/logs/embed.log",
    benchmark:
        f"{DATASET}/models/control_{{control}}/seed_{{seed}}/logs/embed.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1000, per_input_mb=1),
        runtime=minutes(PLAN, base=5, per_input_gb=1),
    params:
        of=lambda w, input: options("--of", *input.of),
        code=code_of("embed_control.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/embed_control.py --counts {input.counts:q} --control {wildcards.control}"
        " {params.of:q} --seed {wildcards.seed} --output {output:q} --code {params.code} > {log:q} 2>&1"


rule assemble_embedded:
    """Put every embedding of {wildcards.dataset} into one AnnData."""
    input:
        cells=f"{DATASET}/cells.h5ad",
        cell_embeddings=lambda w: PATHS.of_every_run(
            "cell_embedding.parquet", PLAN.embedders, w.dataset
        ),
        gene_embeddings=lambda w: PATHS.of_every_run(
            "gene_embedding.parquet", PLAN.embedders, w.dataset
        ),
        umaps=lambda w: PATHS.of_every_run("umap.parquet", PLAN.scored, w.dataset),
    output:
        f"{DATASET}/embedded.h5ad",
    log:
        f"{DATASET}/logs/embedded.log",
    benchmark:
        f"{DATASET}/logs/embedded.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1500, per_input_mb=3),
        runtime=minutes(PLAN, base=10, per_input_gb=10),
    params:
        runs=lambda w: PATHS.named_runs(w.dataset),
        code=code_of("assemble_embedded.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/assemble_embedded.py --cells {input.cells:q} --run {params.runs:q}"
        " --output {output:q} --code {params.code} > {log:q} 2>&1"
