"""The world behind the query server's ports."""
