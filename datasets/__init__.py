"""Where data comes from: toy densities, the user's own points and images, image sets."""
