"""Pull requests: the report and the comment."""
