"""What a network costs: parameters, multiply-adds, latency, memory."""

from acmix_nas.cost.count import count
from acmix_nas.record import Cost

__all__ = ["Cost", "count"]
