"""The ingestion server: documents in, searchable versions out."""
