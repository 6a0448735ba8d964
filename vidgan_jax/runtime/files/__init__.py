"""Files and folders: paths, locks, caches, videos, and readers that do not trust their files."""
