"""How far two computations of the same number may differ, by dtype: the one table of the test suite."""

import torch

TOLERANCES = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-10},
    torch.float32: {"rtol": 1e-4, "atol": 1e-4},
    torch.float16: {"rtol": 2e-2, "atol": 2e-2},
    torch.bfloat16: {"rtol": 8e-2, "atol": 8e-2},
}


def assert_close(actual, expected):
    """Within the tolerance of the actual tensor's dtype; `expected` may be an array or another dtype."""
    expected = torch.as_tensor(expected, device=actual.device).to(actual.dtype)
    torch.testing.assert_close(actual, expected, **TOLERANCES[actual.dtype])
