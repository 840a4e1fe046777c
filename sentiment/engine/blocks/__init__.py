"""One file per block; see ``engine/block.py`` for what a block is."""
