"""Files in Google Cloud Storage, under addresses such as gs://bucket/run."""
