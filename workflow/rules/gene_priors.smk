"""Gene embeddings. Reads: tables of texts, sequences or vectors. Writes: gene_priors/, datasets/*/gene_priors/."""


rule build_gene_prior:
    """Build gene prior '{wildcards.gene_prior}' once for all datasets."""
    input:
        sources=lambda w: PATHS.source_files(w.gene_prior),
    output:
        prior=f"{OUT}/gene_priors/{{gene_prior}}.parquet",
        sidecar=f"{OUT}/gene_priors/{{gene_prior}}.json",
    log:
        f"{OUT}/logs/gene_prior_{{gene_prior}}.log",
    benchmark:
        f"{OUT}/logs/gene_prior_{{gene_prior}}.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: PLAN.resources.threads
    resources:
        mem_mb=memory(PLAN, base=4000, per_input_mb=10),
        runtime=minutes(PLAN, base=120, per_input_gb=600),
    params:
        settings=lambda w: as_json(PLAN.gene_priors[w.gene_prior], without=["matching"]),
        cache=f"{OUT}/.cache/texts",
        code=code_of("build_gene_prior.py"),
    shell:
        "SCLAMP_THREADS={PLAN.resources.threads} {PYTHON} {SCRIPTS:q}/build_gene_prior.py"
        " --settings {params.settings:q}"
        " --output {output.prior:q} --sidecar {output.sidecar:q} --cache {params.cache:q}"
        " --code {params.code} > {log:q} 2>&1"


rule match_gene_prior:
    """Match gene prior '{wildcards.gene_prior}' to genes '{wildcards.selection}' of {wildcards.dataset}."""
    input:
        genes=f"{DATASET}/genes/{{selection}}.parquet",
        counts=f"{DATASET}/genes/{{selection}}.h5ad",
        prior=lambda w: PATHS.prior_before_matching(w.gene_prior),
        parent=lambda w: PATHS.matched_parent(w.dataset, w.selection, w.gene_prior),
        tables=lambda w: PATHS.matching_files(w.gene_prior),
    output:
        prior=f"{DATASET}/gene_priors/{{selection}}/{{gene_prior}}.parquet",
        report=f"{DATASET}/gene_priors/{{selection}}/{{gene_prior}}.json",
    log:
        f"{DATASET}/logs/gene_prior_{{selection}}_{{gene_prior}}.log",
    benchmark:
        f"{DATASET}/logs/gene_prior_{{selection}}_{{gene_prior}}.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1500, per_input_mb=4),
        runtime=minutes(PLAN, base=10, per_input_gb=10),
    params:
        settings=lambda w: as_json(PLAN.gene_priors[w.gene_prior]),
        prior=lambda w, input: options("--prior", *input.prior),
        parent=lambda w, input: options("--of", *input.parent),
        code=code_of("match_gene_prior.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/match_gene_prior.py --settings {params.settings:q}"
        " --genes {input.genes:q} --counts {input.counts:q} {params.prior:q} {params.parent:q}"
        " --output {output.prior:q} --report {output.report:q}"
        " --code {params.code} > {log:q} 2>&1"
