"""Builds everything, and alone knows all rooms: the wholes of the gateway's process and of the learner's.

`gateway.Gateway` and `learner.Learner` are asynchronous context managers that own their tasks: what they start, they
end. What commands need of the same parts is built here too, so that both are built alike.
"""
