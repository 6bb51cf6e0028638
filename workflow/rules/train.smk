"""Fit models. Reads: packed counts, matched gene priors, the run to start from. Writes: model.pt, history.parquet."""


rule train_model:
    """Fit {wildcards.model} to {wildcards.dataset} with seed {wildcards.seed}; resumes where a killed job stopped."""
    input:
        counts=lambda w: PATHS.counts(w.dataset, w.model),
        gene_priors=lambda w: list(PATHS.matched_priors(w).values()),
        warm_start=PATHS.warm_start,
        embedding=PATHS.read_embedding,
    output:
        model=f"{RUN}/model.pt",
        history=f"{RUN}/history.parquet",
    log:
        f"{RUN}/logs/train.log",
    benchmark:
        f"{RUN}/logs/train.benchmark.tsv"
    wildcard_constraints:
        model=one_of(PLAN.names(gradient=True)),
    conda:
        "../../envs/sclamp.yaml"
    threads: PLAN.resources.threads
    resources:
        mem_mb=memory(PLAN, base=2500, per_input_mb=20),
        runtime=minutes(PLAN, base=60, per_input_gb=600),
        gpu=PLAN.resources.gpus,
    params:
        settings=lambda w: as_json(PLAN.model(w.model).settings),
        gene_priors=lambda w: options(
            "--gene-prior", *(f"{n}={p}" for n, p in PATHS.matched_priors(w).items())
        ),
        warm_start=lambda w: options("--warm-start", *PATHS.warm_start(w)),
        embedding=lambda w: options("--embedding", *PATHS.read_embedding(w)),
        code=lambda w: code_of("train_model.py", PLAN.model(w.model).mode),
    shell:  # exec: no shell is left that a signal could end before the training has saved
        "{TENSORBOARD}SCLAMP_THREADS={PLAN.resources.threads} SCLAMP_JOBS_PER_GPU={PLAN.resources.jobs_per_gpu}"
        " exec {LAUNCH} {SCRIPTS:q}/train_model.py"
        " --counts {input.counts:q} {params.gene_priors:q} {params.warm_start:q}"
        " {params.embedding:q} --settings {params.settings:q} --seed {wildcards.seed}"
        " --model {output.model:q} --history {output.history:q}"
        " --code {params.code} > {log:q} 2>&1"


use rule train_model as fit_model with:
    # Models with a direct solution need no GPU.
    wildcard_constraints:
        model=one_of(PLAN.names(gradient=False)),
    resources:
        mem_mb=memory(PLAN, base=2500, per_input_mb=10),
        runtime=minutes(PLAN, base=20, per_input_gb=60),
