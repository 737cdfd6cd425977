"""Does a swap hurt anybody: hundreds of them under streams, and the gateway's latency while training."""
