"""Every number of the documentation that comes from results/reference, one module a paper."""
