"""Predict the classes of images: files, folders, archives and addresses."""
