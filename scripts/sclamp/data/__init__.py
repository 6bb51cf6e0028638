"""Reading, checking, storing and batching of cells."""
