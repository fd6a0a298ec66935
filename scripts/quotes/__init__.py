"""Every number of the READMEs that comes from results/reference, one module a paper."""
