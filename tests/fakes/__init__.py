"""In-memory adapters behind the servers' ports, and what several tests do alike."""
