"""What searching and quoting know. Imports no driver, no grpc, no generated code."""
