"""Genes that training never saw. Reads: counts, matched gene priors. Writes: left_out/, scores/left_out_genes.parquet."""


rule leave_genes_out:
    """Take some genes of {wildcards.dataset} out of gene prior '{wildcards.gene_prior}', drawn by seed {wildcards.seed}."""
    input:
        prior=f"{DATASET}/gene_priors/{{selection}}/{{gene_prior}}.parquet",
        counts=f"{DATASET}/genes/{{selection}}.h5ad",
    output:
        f"{DATASET}/left_out/{{selection}}/seed_{{seed}}/{{gene_prior}}.parquet",
    log:
        f"{DATASET}/logs/left_out_{{selection}}_{{gene_prior}}_seed_{{seed}}.log",
    benchmark:
        f"{DATASET}/logs/left_out_{{selection}}_{{gene_prior}}_seed_{{seed}}.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1500, per_input_mb=4),
        runtime=minutes(PLAN, base=5, per_input_gb=10),
    params:
        share=PLAN.evaluate.left_out_genes,
        code=code_of("leave_genes_out.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/leave_genes_out.py --gene-prior {input.prior:q} --counts {input.counts:q}"
        " --share {params.share} --seed {wildcards.seed} --output {output:q} --code {params.code} > {log:q} 2>&1"


use rule train_model as train_left_out with:
    # The same training without the left-out genes: what has no vector in the gene prior is not read.
    input:
        counts=lambda w: PATHS.counts(w.dataset, w.model),
        gene_priors=lambda w: list(PATHS.left_out_priors(w).values()),
    output:
        model=f"{RUN}/left_out/model.pt",
        history=f"{RUN}/left_out/history.parquet",
    log:
        f"{RUN}/logs/train_left_out.log",
    benchmark:
        f"{RUN}/logs/train_left_out.benchmark.tsv"
    wildcard_constraints:
        model=one_of(PLAN.left_out),
    params:
        settings=lambda w: as_json(PLAN.model(w.model).settings),
        gene_priors=lambda w: options(
            "--gene-prior", *(f"{n}={p}" for n, p in PATHS.left_out_priors(w).items())
        ),
        warm_start=[],
        embedding=[],
        code=lambda w: code_of("train_model.py", PLAN.model(w.model).mode),


rule score_left_out_genes:
    """Score what {wildcards.model}, seed {wildcards.seed}, predicts for genes that it never saw."""
    input:
        model=f"{RUN}/left_out/model.pt",
        counts=lambda w: PATHS.counts(w.dataset, w.model),
        gene_priors=lambda w: list(PATHS.matched_priors(w).values()),
    output:
        scores=f"{RUN}/scores/left_out_genes.parquet",
        genes=f"{RUN}/left_out/genes.parquet",
    log:
        f"{RUN}/logs/left_out_genes.log",
    benchmark:
        f"{RUN}/logs/left_out_genes.benchmark.tsv"
    wildcard_constraints:
        model=one_of(PLAN.left_out),
    conda:
        "../../envs/sclamp.yaml"
    threads: PLAN.resources.threads
    resources:
        mem_mb=memory(PLAN, base=2500, per_input_mb=20),
        runtime=minutes(PLAN, base=15, per_input_gb=30),
    params:
        gene_priors=lambda w: options(
            "--gene-prior", *(f"{n}={p}" for n, p in PATHS.matched_priors(w).items())
        ),
        code=lambda w: code_of("score_left_out_genes.py", PLAN.model(w.model).mode),
    shell:
        "SCLAMP_THREADS={PLAN.resources.threads} {PYTHON} {SCRIPTS:q}/score_left_out_genes.py"
        " --model {input.model:q} --counts {input.counts:q}"
        " {params.gene_priors:q} --dataset {wildcards.dataset:q} --model-name {wildcards.model:q}"
        " --seed {wildcards.seed} --output {output.scores:q} --genes {output.genes:q}"
        " --code {params.code} > {log:q} 2>&1"
