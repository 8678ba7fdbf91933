"""`python -m qdwell` is the `qdwell` command."""

from qdwell.cli.main import main

main()
