"""Trainings on a Ray cluster. Nothing imports this unless ``GENLAB_RAY_ADDRESS`` is set."""
