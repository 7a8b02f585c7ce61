"""Run every check that a GPU is needed for; tools/gpu_report.sh calls this."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dr2net_mm.analysis.gpu_report.command import main

if __name__ == '__main__':
    main()
