"""See whether anything grows while a network trains for long."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dr2net_mm.analysis.soak.command import main

if __name__ == '__main__':
    main()
