"""Two images laid on each other as a whole, before their changes are looked for."""
