"""Array operations that know nothing of change: blurs, statistics over masks, windows, resampling."""
