"""scLAMP: single-cell representation learning with language-model gene priors.

snakemake --cores all                          the demo (config.yaml), to results/report.html
snakemake --cores all --configfile mine.yaml   your own data; nothing of the demo leaks in
snakemake --profile slurm                      the same on a cluster (once: make slurm-profile)
"""

from snakemake.utils import min_version

min_version("9.0")

if not workflow.configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/check.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/gene_priors.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/left_out.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/archive.smk"


rule all:
    """Everything that the configuration asks for."""
    default_target: True
    input:
        PATHS.report,
        PATHS.all_embedded,
        PATHS.all_gene_statistics,


rule checks:
    """Only look at the data, in seconds, and show what was found."""
    input:
        PATHS.all_checks,
    localrule: True
    params:
        findings=[str(Path(path).with_suffix(".txt")) for path in PATHS.all_checks],
    shell:
        "cat {params.findings:q}"


rule models:
    """Train every model and export its embeddings; no scores, no figures."""
    input:
        PATHS.all_checks,
        PATHS.all_embedded,


rule scores:
    """Every score in one table."""
    input:
        PATHS.all_checks,
        PATHS.scores,


rule held_out:
    """Losses of every trained model on validation and test cells: validation.parquet and test.parquet of each run."""
    input:
        PATHS.all_held_out,
