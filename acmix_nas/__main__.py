"""`python -m acmix_nas` is the command `acmix`."""

from acmix_nas.plugins import leave_working_folder

leave_working_folder()  # before anything is imported that a file of that name there could stand in for

from acmix_nas.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
