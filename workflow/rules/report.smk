"""The report. Reads: everything under the output folder. Writes: report.html."""


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


onerror:
    # A report of what exists and what failed, made outside the DAG because its inputs are incomplete.
    import subprocess

    subprocess.run(
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
    print(
        f"\nSome jobs failed. What exists, and the failed jobs' last lines: {PATHS.report}",
        file=sys.stderr,
    )
