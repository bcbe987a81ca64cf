"""The query server: search, and answers with citations."""
