"""The single definition of config.yaml, one file per section."""
