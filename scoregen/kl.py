"""`python -m scoregen.kl`: the exact KL of your own 1-D score (`infolab.kl`)."""

from infolab.kl import main

if __name__ == "__main__":
    main()
