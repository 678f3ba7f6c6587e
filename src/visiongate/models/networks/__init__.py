"""One file a network; the file's name is the name it is chosen by."""
