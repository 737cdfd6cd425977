"""Forty-four workdays with house rules that no model can know: the yardstick of learning."""
