"""Gene priors: one file per source of gene embeddings, controls, and the matching of genes by their names."""
