"""Code that all stages share: command line, files, guards, processes."""
