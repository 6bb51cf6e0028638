"""One file per figure; figures read tables only."""
