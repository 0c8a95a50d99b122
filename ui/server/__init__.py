"""The server around the pages: what it needs before it starts, and what it answers."""
