"""The world behind ingestion's ports."""
