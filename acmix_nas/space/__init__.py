"""Search spaces: a YAML file becomes a `Space`, a `Space` builds `Arch` objects. No torch here."""

from acmix_nas.space.load import load_space
from acmix_nas.space.proxy import Proxy
from acmix_nas.space.space import Choice, Space, Value, Values

__all__ = ["Choice", "Proxy", "Space", "Value", "Values", "load_space"]
