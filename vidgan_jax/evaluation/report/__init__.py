"""Results in files, and the report page."""
