"""Count the memory of a training step of MTTR as a whole, without a GPU."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dr2net_mm.analysis.memory.referring_memory import main

if __name__ == '__main__':
    main()
