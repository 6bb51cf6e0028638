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
        "{PYTHON} {SCRIPTS:q}/find_neighbors.py --embedding {input:q} --settings {params.settings:q}"
        " --output {output:q} --code {params.code} > {log:q} 2>&1"


rule score_integration:
    """Score the embedding of {wildcards.model}, seed {wildcards.seed}: biology kept, batches mixed."""
    input:
        counts=lambda w: PATHS.counts(w.dataset, w.model),
        embedding=f"{RUN}/cell_embedding.parquet",
        neighbors=f"{RUN}/neighbors.parquet",
        reference=PATHS.reference_embedding,
    output:
        f"{RUN}/scores/integration.parquet",
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
        settings=as_json(PLAN.evaluate, without=["controls", "neighbors"]),
        code=code_of("score_integration.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/score_integration.py --cells {input.counts:q} --embedding {input.embedding:q}"
        " --neighbors {input.neighbors:q} {params.reference:q} --settings {params.settings:q}"
        " --dataset {wildcards.dataset:q} --model {wildcards.model:q} --seed {wildcards.seed}"
        " --output {output:q} --code {params.code} > {log:q} 2>&1"


rule score_reconstruction:
    """Score the reconstruction of test cells by {wildcards.model}, seed {wildcards.seed}."""
    input:
        f"{RUN}/reconstruction.parquet",
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
        "{PYTHON} {SCRIPTS:q}/score_reconstruction.py --reconstruction {input:q}"
        " --dataset {wildcards.dataset:q} --model {wildcards.model:q} --seed {wildcards.seed}"
        " --output {output:q} --code {params.code} > {log:q} 2>&1"


rule summarize_scores:
    """Gather all scores in one table."""
    input:
        PATHS.all_scores,
    output:
        table=PATHS.scores,
        csv=PATHS.scores.replace(".parquet", ".csv"),
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
        code=code_of("summarize_scores.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/summarize_scores.py --scores {input:q}"
        " --output {output.table:q} --csv {output.csv:q} --code {params.code} > {log:q} 2>&1"
