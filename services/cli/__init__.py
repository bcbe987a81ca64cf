"""The `malla` command."""
