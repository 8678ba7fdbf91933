"""qdwell: a self-hosted quantum runtime."""
