"""What ingestion knows: formats, identifiers, jobs. Imports no driver, no grpc, no generated code."""
