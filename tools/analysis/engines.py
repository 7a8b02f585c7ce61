"""Compare reversible engines on one vision transformer."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dr2net_mm.analysis.engines.command import main

if __name__ == '__main__':
    main()
