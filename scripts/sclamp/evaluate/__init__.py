"""One file per evaluation task: arrays in, rows out."""
