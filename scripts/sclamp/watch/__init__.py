"""What the workflow tells while it runs and when it ends. Imports nothing heavy: the Snakefile uses it."""
