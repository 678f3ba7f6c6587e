"""One file a baseline; the file's name is the name it is chosen by."""
