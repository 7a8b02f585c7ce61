"""Count the memory of a backbone's training step, without a GPU."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dr2net_mm.analysis.memory.point_memory import main

if __name__ == '__main__':
    main()
