"""What a run folder is made of: its files, each read and written in one place."""
