"""HTTP/1.1 on asyncio and llhttp, both ends: the hot path, where a request costs a fifth of what it does on aiohttp."""
