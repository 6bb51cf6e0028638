"""What models say of cells one by one. Reads: models, counts. Writes: predictions.parquet, validation.parquet, test.parquet."""


rule predict_labels:
    """Predict the labels of the cells of {wildcards.dataset} with {wildcards.model}, seed {wildcards.seed}."""
    input:
        model=f"{RUN}/model.pt",
        counts=lambda w: PATHS.counts(w.dataset, w.model),
        embedding=PATHS.read_embedding,
    output:
        f"{RUN}/predictions.parquet",
    log:
        f"{RUN}/logs/predict.log",
    benchmark:
        f"{RUN}/logs/predict.benchmark.tsv"
    wildcard_constraints:
        model=one_of(PLAN.classifiers),
    conda:
        "../../envs/sclamp.yaml"
    threads: PLAN.resources.threads
    resources:
        mem_mb=memory(PLAN, base=2500, per_input_mb=20),
        runtime=minutes(PLAN, base=15, per_input_gb=30),
    params:
        task="predict",
        embedding=lambda w: options("--embedding", *PATHS.read_embedding(w)),
        code=lambda w: code_of("apply_model.py", PLAN.model(w.model).mode),
    shell:
        "SCLAMP_THREADS={PLAN.resources.threads} {PYTHON} {SCRIPTS:q}/apply_model.py"
        " --task {params.task} --model {input.model:q} --counts {input.counts:q}"
        " {params.embedding:q} --output {output:q} --code {params.code} > {log:q} 2>&1"


use rule predict_labels as validate_model with:
    # The loss and its parts on the cells that chose the checkpoint.
    output:
        f"{RUN}/validation.parquet",
    log:
        f"{RUN}/logs/validate.log",
    benchmark:
        f"{RUN}/logs/validate.benchmark.tsv"
    wildcard_constraints:
        model=one_of(PLAN.names(gradient=True)),
    params:
        task="validate",
        embedding=lambda w: options("--embedding", *PATHS.read_embedding(w)),
        code=lambda w: code_of("apply_model.py", PLAN.model(w.model).mode),


use rule validate_model as test_model with:
    # The same on the cells that nothing has seen.
    output:
        f"{RUN}/test.parquet",
    log:
        f"{RUN}/logs/test.log",
    benchmark:
        f"{RUN}/logs/test.benchmark.tsv"
    params:
        task="test",
        embedding=lambda w: options("--embedding", *PATHS.read_embedding(w)),
        code=lambda w: code_of("apply_model.py", PLAN.model(w.model).mode),


rule score_classification:
    """Score the labels that {wildcards.model}, seed {wildcards.seed}, predicts for held-out cells."""
    input:
        predictions=f"{RUN}/predictions.parquet",
        counts=lambda w: PATHS.counts(w.dataset, w.model),
    output:
        scores=f"{RUN}/scores/classification.parquet",
        replicates=f"{RUN}/classification_replicates.parquet",
    log:
        f"{RUN}/logs/classification.log",
    benchmark:
        f"{RUN}/logs/classification.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1500, per_input_mb=5),
        runtime=minutes(PLAN, base=5, per_input_gb=10),
    params:
        label_terms=options("--label-terms", *PLAN.label_terms),
        settings=as_json(PLAN.evaluate, only=["bootstrap", "seed"]),
        code=code_of("score_classification.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/score_classification.py --predictions {input.predictions:q} --cells {input.counts:q}"
        " {params.label_terms:q} --settings {params.settings:q}"
        " --dataset {wildcards.dataset:q} --model {wildcards.model:q} --seed {wildcards.seed}"
        " --output {output.scores:q} --replicates {output.replicates:q} --code {params.code} > {log:q} 2>&1"


rule plot_classification:
    """Draw what {wildcards.model}, seed {wildcards.seed}, confuses and how far its probabilities can be trusted."""
    input:
        predictions=f"{RUN}/predictions.parquet",
        counts=lambda w: PATHS.counts(w.dataset, w.model),
    output:
        f"{RUN}/figures/classification.png",
        f"{RUN}/figures/classification.svg",
    log:
        f"{RUN}/logs/plot_classification.log",
    benchmark:
        f"{RUN}/logs/plot_classification.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1500, per_input_mb=5),
        runtime=minutes(PLAN, base=5, per_input_gb=10),
    params:
        settings=as_json(PLAN.figures, only=["dpi"]),
        code=code_of("plot_classification.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/plot_classification.py --predictions {input.predictions:q} --cells {input.counts:q}"
        " --title {wildcards.model:q} --settings {params.settings:q}"
        " --output {output[0]:q} --code {params.code} > {log:q} 2>&1"
