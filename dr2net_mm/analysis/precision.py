"""The precisions in which steps are measured, as command lines name them."""

from typing import Dict, Optional

import torch

#: Types of mixed precision (autocast).
AMP_DTYPES: Dict[str, torch.dtype] = {'bf16': torch.bfloat16, 'fp16': torch.float16}
#: The same and full precision, which needs no autocast.
PRECISIONS: Dict[str, Optional[torch.dtype]] = {'fp32': None, **AMP_DTYPES}
