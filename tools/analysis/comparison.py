"""Make the page that compares ours with everything else."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dr2net_mm.analysis.comparison.command import main

if __name__ == '__main__':
    main()
