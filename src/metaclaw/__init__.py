"""MetaClaw: a learning gateway for deployed LLM agents."""

__version__ = "0.1.0"
