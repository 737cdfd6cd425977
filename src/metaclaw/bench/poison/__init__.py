"""Attempts to plant a skill, through the real learner: does any become live without a person's word?"""
