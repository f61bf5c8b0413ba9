"""`python -m agent` is the command `preread`."""

from agent.cli import main

main()
