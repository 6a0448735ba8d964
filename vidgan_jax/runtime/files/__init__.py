"""Files and folders: paths, locks, readers of files from outside, caches, videos."""
