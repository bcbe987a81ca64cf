"""The embedding server: vectors of texts, batched across callers."""
