"""What a reviewer or CI runs on the repository."""
