"""How well a configuration ranks and decides, measured on pairs whose truth is known."""
