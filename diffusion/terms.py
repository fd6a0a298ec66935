"""`python -m diffusion.terms`: the data terms of the bound on your own array (`infolab.bound`)."""

from infolab.bound import main

if __name__ == "__main__":
    main()
