"""What is asked of a trained model: checks, latents, anomaly scores, comparisons."""
