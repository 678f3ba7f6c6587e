"""HTML pages and figures: rendering shared by all reports."""
