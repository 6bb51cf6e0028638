"""One file per model family: the maths and nothing else."""
