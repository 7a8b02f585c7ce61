"""Train a queue of finetuning experiments, resumable after a kill."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dr2net_mm.experiments.run_command import main

if __name__ == '__main__':
    main()
