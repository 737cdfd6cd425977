"""The dashboard: web pages over what was learned, served by the learner on loopback"""
