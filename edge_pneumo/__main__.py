"""`python -m edge_pneumo` is `edge-pneumo`."""

from edge_pneumo.cli import main

main()
