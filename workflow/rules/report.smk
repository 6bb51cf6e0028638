"""The report. Reads: everything under the output folder. Writes: report.html."""

from sclamp.watch.hooks import Watch


rule write_report:
    """Write the report."""
    input:
        checks=PATHS.all_checks,
        scores=PATHS.scores,
        intervals=PATHS.intervals,
        comparisons=PATHS.comparisons,
        figures=PATHS.all_figures,
        template=REPORT_TEMPLATE,
    output:
        PATHS.report,
    log:
        f"{OUT}/logs/report.log",
    benchmark:
        f"{OUT}/logs/report.benchmark.tsv"
    conda:
        "../../envs/sclamp.yaml"
    threads: 1
    resources:
        mem_mb=memory(PLAN, base=1500, per_input_mb=5),
        runtime=minutes(PLAN, base=10, per_input_gb=10),
    params:
        plan=report_plan(PLAN),
        code=code_of("write_report.py"),
    shell:
        "{PYTHON} {SCRIPTS:q}/write_report.py --plan {params.plan:q} --output {output:q}"
        " --code {params.code} > {log:q} 2>&1"


WATCH = Watch(logger)


onstart:
    WATCH.begins()


onsuccess:
    WATCH.succeeded(PATHS.report)


onerror:
    # A report of what exists and what failed, made outside the DAG because its inputs are incomplete.
    import subprocess

    WATCH.ends()
    written = subprocess.run(
        [
            PYTHON,
            f"{SCRIPTS}/write_report.py",
            "--plan",
            report_plan(PLAN),
            "--output",
            PATHS.report,
        ],
        check=False,
    )
    WATCH.failed(
        targets=workflow.dag_settings.targets,
        without=[rule.name for rule in workflow.rules if not rule.output],
        report=PATHS.report if written.returncode == 0 else "",
    )
