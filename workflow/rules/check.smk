"""Look at each dataset before anything heavy runs. Reads: the user's files. Writes: checks.json, checks.txt."""


rule check_dataset:
    """Check {wildcards.dataset}: keys, counts, columns, gene identifiers, sizes."""
    input:
        PATHS.raw_files,
    output:
        report=f"{DATASET}/checks.json",
        table=f"{DATASET}/checks.txt",
    log:
        f"{DATASET}/logs/check.log",
    benchmark:
        f"{DATASET}/logs/check.benchmark.tsv"
    # First, but nothing waits for it: an input that may change without consequences (`ancient`) keeps Snakemake from
    # seeing what else has changed. What cannot be prepared is refused by prepare_cells.py itself.
    priority: 100
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1000, per_input_mb=0.5),
        runtime=minutes(PLAN, base=10, per_input_gb=2),
    params:
        settings=lambda w: as_json(PLAN.datasets[w.dataset]),
        selections=lambda w: as_json(
            {
                s: PLAN.gene_selections[s].model_dump(mode="json")
                for s in PLAN.used_selections()
            }
        ),
        priors=lambda w: as_json(
            {
                p: PLAN.gene_priors[p].model_dump(mode="json")
                for p in PLAN.used_priors()
            }
        ),
        code=code_of("check_dataset.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/check_dataset.py --name {wildcards.dataset:q}"
        " --settings {params.settings:q}"
        " --gene-selections {params.selections:q}"
        " --gene-priors {params.priors:q}"
        " --output {output.report:q} --table {output.table:q}"
        " --code {params.code} > {log:q} 2>&1"
