"""What the trainings of several families share."""
