"""What ingestion does."""
