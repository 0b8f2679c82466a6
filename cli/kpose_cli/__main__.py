"""``python -m kpose_cli`` is ``kpose``."""

from kpose_cli.main import main

main(prog_name="kpose")
