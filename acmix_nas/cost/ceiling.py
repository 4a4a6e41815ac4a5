"""What a device does at most: a large matrix product and a copy, timed with the clock that times networks.

A network that seems faster was not timed: its clock did not wait for the device, or it did not run.
"""

from dataclasses import dataclass
from typing import Any

import torch

from acmix_nas.cost.clock import Clock
from acmix_nas.errors import AcmixError

SIDES = {"cpu": 1024, "cuda": 8192}
"""Extent of the square matrices."""
PROBE = 256
"""The same to find the fastest dtype: a CPU without units for one takes 70 times as long as in float32."""
COPIED = {"cpu": 2**26, "cuda": 2**30}
"""Bytes that are copied: more than caches hold, but for the largest."""
REPETITIONS = 5
FEWER_PRODUCTS = 2.25
"""Winograd's convolutions of 3 x 3 take so many times fewer multiplications (Lavin and Gray 2015, arXiv 1509.09308)."""
FASTER_CACHE = 10.0
"""Weights that a cache holds from run to run are read so many times as fast, at most."""
SLACK = 1.5
"""A device may have been slower for a moment when its ceiling was measured."""


class TimingError(AcmixError):
    """A time cannot be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """What a device reached.

    Attributes:
        macs_per_s: Multiply-adds a second of a large matrix product.
        bytes_per_s: Bytes read a second of a copy that writes as many.
    """

    macs_per_s: float
    bytes_per_s: float

    def facts(self) -> dict[str, float]:
        """The same in billions, for a report."""
        values = {"product_gmacs_per_s": self.macs_per_s, "copy_gb_per_s": self.bytes_per_s}
        return {name: float(f"{value / 1e9:.3g}") for name, value in values.items()}

    def check(self, row: dict[str, Any], *, train: bool) -> None:
        """Refuses the time of a row of a profile that this device cannot have reached.

        Args:
            row: As `acmix_nas.cost.rows.make_row` makes it.
            train: Whether a run is a forward and a backward pass, which has at least twice the products.

        Raises:
            TimingError: The row is too fast.
        """
        merged = row["macs_deploy"] if row["form"] == "merged" else None
        macs = next((count for count in (merged, row["macs"], row["macs_torch"]) if count is not None), 0)
        products_s = macs * row["batch_size"] * (1 + train) / (FEWER_PRODUCTS * SLACK * self.macs_per_s)
        weights_s = row["params"] / (FASTER_CACHE * SLACK * self.bytes_per_s)  # each of a byte or more
        least_ms = 1000 * max(products_s, weights_s)
        if row["latency_ms"] < least_ms:
            raise TimingError(
                f"{row['model']} at batch {row['batch_size']} seems to take {row['latency_ms']:.3g} ms; this device, "
                f"which does {self.macs_per_s / 1e9:.3g} billion multiply-adds a second in a large matrix product and "
                f"copies {self.bytes_per_s / 1e9:.3g} GB a second, needs {least_ms:.3g} ms or more. It was not timed "
                "right; please report it with the output of `acmix doctor`."
            )


def measure_ceiling(device: torch.device | str, dtype: torch.dtype, clock: Clock) -> Ceiling:
    """Times a large matrix product and a copy; the best of several runs.

    Args:
        device: The device.
        dtype: That networks compute in. On a GPU the product is one of float16 whatever it is, as convolutions of
            float32 may use the same units (TF32); on a CPU it is of float32 if that is faster, as not all layers are
            converted.
        clock: Of the device.
    """
    kind = torch.device(device).type
    dtypes = {torch.float16} if kind == "cuda" else {dtype, torch.float32}
    fastest = min(dtypes, key=lambda each: _product_ms(PROBE, each, device, clock))
    side, size = SIDES[kind], COPIED[kind]
    product_ms = _product_ms(side, fastest, device, clock)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_ms = min(clock.time_ms(lambda: target.copy_(source)) for _ in range(REPETITIONS))
    return Ceiling(macs_per_s=1000 * side**3 / product_ms, bytes_per_s=1000 * size / copy_ms)


def _product_ms(side: int, dtype: torch.dtype, device: torch.device | str, clock: Clock) -> float:
    matrix = torch.randn(side, side, device=device).to(dtype)
    result = torch.empty_like(matrix)
    return min(clock.time_ms(lambda: torch.mm(matrix, matrix, out=result)) for _ in range(REPETITIONS))
