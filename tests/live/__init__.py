"""A real account, once: `make live` rents, walks the story, ends, and keeps what the cloud answered."""
