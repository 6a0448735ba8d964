"""Networks that compute the features and logits for metrics."""
