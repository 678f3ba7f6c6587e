"""The pull-request report, rendered from parsed snapshots of two revisions."""
