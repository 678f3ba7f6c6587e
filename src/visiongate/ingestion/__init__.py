"""Ingestion: bring images in from a folder, archive, URL, bucket or package."""
