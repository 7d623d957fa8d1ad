"""How much memory to use, and how to tell that there was not enough."""

import torch

# Bytes that the largest working arrays may occupy by default.
MEMORY = 2**31


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that an allocation failed, on the CPU or on a device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)
