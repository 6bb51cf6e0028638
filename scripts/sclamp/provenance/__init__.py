"""Follows artefacts back to what they were made of, and packs results for others."""
