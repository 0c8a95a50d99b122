"""The page of autoencoders."""
