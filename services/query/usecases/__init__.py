"""What the query server does."""
