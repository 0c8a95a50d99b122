"""The page of MAF."""
