"""`metaclaw bench peers`: what else one could put before the same model on the same days, run for real."""
