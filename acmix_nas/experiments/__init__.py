"""What each command does, callable from Python with the same words as its options."""
