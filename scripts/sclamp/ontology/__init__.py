"""The Cell Ontology: terms, their hierarchy and distances, and which term a label of a dataset means."""
