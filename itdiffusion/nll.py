"""`python -m itdiffusion.nll`: the NLL of your own data under your own denoiser (`infolab.nll`)."""

from infolab.nll import main

if __name__ == "__main__":
    main()
