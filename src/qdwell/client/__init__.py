"""The Python API of the seed documents: asks a qdwell server. Imports `wire` and `errors` only."""
