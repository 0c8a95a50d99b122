"""What models are built of: layers of flows and of networks, masks, priors, augmentation."""
