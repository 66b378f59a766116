"""Is a data set what it says? Repeats, contradictions and units, in one report."""
