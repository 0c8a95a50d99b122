"""What the page of flow matching shows of a run, in 2-D and on images."""
