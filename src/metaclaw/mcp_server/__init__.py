"""The library over the Model Context Protocol: code skills as tools, every live skill as a resource and as a prompt."""
