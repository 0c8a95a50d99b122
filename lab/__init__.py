"""Runs and who may do what with them: folder, driver, workers, queue, people, rules."""
