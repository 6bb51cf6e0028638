"""Gene priors: one file per source of gene embeddings, matching, controls."""
