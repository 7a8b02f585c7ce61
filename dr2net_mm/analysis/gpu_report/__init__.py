"""Everything that wants measuring on a GPU, in steps, and the tables made of it."""
