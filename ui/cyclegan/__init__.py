"""The page of the CycleGAN."""
