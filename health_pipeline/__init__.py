"""Watch over the health of an e-commerce creator and content ecosystem."""

__version__ = "0.1.0"
