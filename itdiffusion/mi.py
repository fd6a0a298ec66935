"""`python -m itdiffusion.mi`: mutual information between the paired rows of two arrays (`infolab.mi.command`)."""

from infolab.mi.command import main

if __name__ == "__main__":
    main()
