"""How names are found: those of a room when they are first asked for, old ones where they went."""
