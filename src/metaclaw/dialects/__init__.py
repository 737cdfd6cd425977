"""The wire formats that clients and providers speak: how to read a request and a reply, and where text may be put in.

All pure, and free of every other room: the gateway speaks them, and the learning rooms read what was spoken.
"""
