"""What a network costs: parameters, multiply-adds, latency, memory."""

from acmix_nas.cost.count import breakdown, count, count_dense
from acmix_nas.parts import Part, total
from acmix_nas.record import Cost

__all__ = ["Cost", "Part", "breakdown", "count", "count_dense", "total"]
