"""The stage: what moves in 2-D, drawn by the browser from arrays."""
