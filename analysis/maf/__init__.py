"""What is asked of a MAF that looks for defects."""
