"""qdwell: a self-hosted quantum runtime."""

__all__ = ["__version__"]

__version__ = "0.1.0"
