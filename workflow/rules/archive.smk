"""For others, and for later. Reads: everything under the output folder. Writes: provenance.json, crate.zip."""


rule provenance:
    """Verify where every artefact comes from; what does not hold is told. Looks anew each time that it is asked for."""
    input:
        PATHS.report,
        PATHS.all_embedded,
        PATHS.all_gene_statistics,
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1000, per_input_mb=0),
        runtime=minutes(PLAN, base=10, per_input_gb=5),
    params:
        results=OUT,
        account=PATHS.provenance,
        inputs=options("--inputs", *PATHS.own_files),
    shell:
        "{PYTHON} {SCRIPTS:q}/trace_provenance.py --all {params.results:q} {params.inputs:q}"
        " --output {params.account:q}"


rule crate:
    """Pack the results into an RO-Crate."""
    input:
        PATHS.report,
        PATHS.all_embedded,
        PATHS.all_gene_statistics,
    output:
        PATHS.crate,
    log:
        f"{OUT}/logs/crate.log",
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1000, per_input_mb=0),
        runtime=minutes(PLAN, base=10, per_input_gb=30),
    params:
        results=OUT,
        workflow=os.path.relpath(workflow.basedir),
        inputs=options("--inputs", *PATHS.own_files),
        config=json.dumps(config, sort_keys=True, default=str),
        settings=PLAN.export.crate.model_dump_json(),
        code=code_of("export_crate.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/export_crate.py --results {params.results:q} --workflow {params.workflow:q}"
        " --config {params.config:q} {params.inputs:q} --settings {params.settings:q} --output {output:q}"
        " > {log:q} 2>&1"
