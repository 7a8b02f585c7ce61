"""Count the memory of a backbone's training step, without a GPU."""

from dr2net_mm.analysis.memory import main

if __name__ == '__main__':
    main()
