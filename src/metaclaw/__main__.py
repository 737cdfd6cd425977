"""`python -m metaclaw` is the command `metaclaw`."""

from metaclaw.cli.main import main

main()
