"""The command in a checkout: `python cli.py search --space swin_t` is `acmix search --space swin_t`."""

from acmix_nas.cli import main

if __name__ == "__main__":
    main()
