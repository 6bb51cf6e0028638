"""Quality control, canonical columns, choice of genes. Reads: the user's files. Writes: cells.h5ad, genes/."""


rule prepare_cells:
    """Prepare {wildcards.dataset}: quality control, split, encoded covariates."""
    input:
        raw=PATHS.raw_files,
        # The order matters, the content does not: a changed check alone prepares nothing anew.
        checks=ancient(f"{DATASET}/checks.json"),
    output:
        f"{DATASET}/cells.h5ad",
    log:
        f"{DATASET}/logs/prepare.log",
    benchmark:
        f"{DATASET}/logs/prepare.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1500, per_input_mb=8),
        runtime=minutes(PLAN, base=10, per_input_gb=15),
    params:
        settings=lambda w: as_json(PLAN.datasets[w.dataset]),
        code=code_of("prepare_cells.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/prepare_cells.py --settings {params.settings:q} --output {output:q}"
        " --code {params.code} > {log:q} 2>&1"


rule select_genes:
    """Select genes '{wildcards.selection}' of {wildcards.dataset} and pack their counts for training."""
    input:
        cells=f"{DATASET}/cells.h5ad",
        gene_list=lambda w: PLAN.gene_selections[w.selection].file or [],
    output:
        table=f"{DATASET}/genes/{{selection}}.parquet",
        counts=f"{DATASET}/genes/{{selection}}.h5ad",
    log:
        f"{DATASET}/logs/genes_{{selection}}.log",
    benchmark:
        f"{DATASET}/logs/genes_{{selection}}.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1500, per_input_mb=1),
        runtime=minutes(PLAN, base=10, per_input_gb=5),
    params:
        settings=lambda w: as_json(PLAN.gene_selections[w.selection]),
        code=code_of("select_genes.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/select_genes.py --cells {input.cells:q} --settings {params.settings:q}"
        " --table {output.table:q} --counts {output.counts:q}"
        " --code {params.code} > {log:q} 2>&1"
