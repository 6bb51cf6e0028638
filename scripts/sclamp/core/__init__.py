"""Ground floor: errors, files, provenance, the command line and progress."""
