"""The pages of the families as a student meets them: their shape, and the exercises on them."""
