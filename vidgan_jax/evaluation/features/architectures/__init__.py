"""Networks whose features and predictions metrics are made of."""
