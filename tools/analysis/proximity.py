"""Measure how near a dual-residual network starts to the pretrained one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dr2net_mm.analysis.proximity.command import main

if __name__ == '__main__':
    main()
