"""Jobs: a store that several servers share, workers that take them up, results kept by content."""
