"""Make docs/evidence.md, its tables and its plots from the records of all runs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dr2net_mm.experiments.report_command import main

if __name__ == '__main__':
    main()
