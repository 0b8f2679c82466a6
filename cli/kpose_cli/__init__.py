"""The command line of kpose: one command per file."""
