"""Quality control, canonical columns, choice of genes. Reads: the user's files. Writes: cells.h5ad, genes/."""


rule prepare_cells:
    """Prepare {wildcards.dataset}: quality control, split, encoded covariates."""
    input:
        PATHS.raw_files,
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


rule describe_genes:
    """Measure mean, variance and quantiles of each gene of {wildcards.dataset}."""
    input:
        f"{DATASET}/cells.h5ad",
    output:
        f"{DATASET}/gene_statistics.parquet",
    log:
        f"{DATASET}/logs/gene_statistics.log",
    benchmark:
        f"{DATASET}/logs/gene_statistics.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=2000, per_input_mb=1),
        runtime=minutes(PLAN, base=10, per_input_gb=15),
    params:
        how="--cells",
        settings=as_json(PLAN.gene_statistics),
        code=code_of("describe_genes.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/describe_genes.py {params.how} {input:q} --settings {params.settings:q}"
        " --output {output:q} --code {params.code} > {log:q} 2>&1"


use rule describe_genes as merge_gene_statistics with:
    # The genes of all datasets together, out of the tables of each.
    input:
        PATHS.gene_statistics_of_each,
    output:
        f"{OUT}/summary/gene_statistics.parquet",
    log:
        f"{OUT}/logs/gene_statistics.log",
    benchmark:
        f"{OUT}/logs/gene_statistics.benchmark.tsv"
    params:
        how="--merge",
        settings=as_json(PLAN.gene_statistics),
        code=code_of("describe_genes.py"),
