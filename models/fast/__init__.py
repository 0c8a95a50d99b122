"""Speed tricks, each with its measured gain on a whole step."""
