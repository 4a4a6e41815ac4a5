"""`python -m acmix_nas` is the command `acmix`."""

from acmix_nas.cli import main

if __name__ == "__main__":
    main()
