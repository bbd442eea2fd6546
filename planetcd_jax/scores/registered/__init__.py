"""The score of the preset `ROBUST`: registered first, compared place by place."""
