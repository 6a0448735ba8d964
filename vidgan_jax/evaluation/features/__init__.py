"""Features of clips: preprocessing, networks, and files with cached features."""
