"""The gateway against the direct way, a bare pass-through and its peers: added latency, throughput, memory."""
