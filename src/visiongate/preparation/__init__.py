"""Preparation: quarantine, near-duplicates, exploration."""
