"""What the fields of stored records and headers may hold."""

from collections.abc import Mapping

from acmix_nas.fields import COUNT, MAPPING, NUMBER, TEXT, Rule, list_of, mapping_of, maybe, one_of, whole
from acmix_nas.metrics import METRIC_NAME
from acmix_nas.sizes import size_rule

HEAD = Rule(
    "a mapping of name, options and classes",
    lambda value: (
        isinstance(value, dict)
        and set(value) == {"name", "options", "classes"}
        and TEXT.fits(value["name"])
        and MAPPING.fits(value["options"])
        and list_of(TEXT, 2).fits(value["classes"])
    ),
)
TRIAL_FIELDS: Mapping[str, Rule] = {
    **dict.fromkeys(("status", "label", "split", "task", "started"), TEXT),
    **dict.fromkeys(("error", "origin"), maybe(TEXT)),
    **dict.fromkeys(("budget", "proxy", "data", "environment"), MAPPING),
    "metric": METRIC_NAME,
    **dict.fromkeys(("scores", "losses"), list_of(NUMBER)),
    "metrics": mapping_of(list_of(NUMBER)),
    **dict.fromkeys(("number", "skipped"), COUNT),
    "seconds": NUMBER,
    "seeds": mapping_of(COUNT),
    "shared_with": maybe(COUNT),
    "head": maybe(HEAD),
    "by_class": mapping_of(list_of(maybe(NUMBER))),
    "predictions": list_of(TEXT),
    **dict.fromkeys(("mixing", "norms"), list_of(list_of(maybe(list_of(NUMBER, 2, 2))))),
}
COST_FIELDS: Mapping[str, Rule] = {
    **dict.fromkeys(("params", "macs", "macs_deploy"), COUNT),
    "input_size": size_rule(0),
    **dict.fromkeys(("latency_ms", "throughput"), maybe(NUMBER)),
}
HEADER_FIELDS: Mapping[str, Rule] = {
    **dict.fromkeys(("name", "kind", "space", "host", "split", "command", "version"), TEXT),
    **dict.fromkeys(("objectives", "rows"), list_of(TEXT)),
    "baseline": maybe(TEXT),
    "seed": COUNT,
    "settings": MAPPING,
}
LATENCY_TABLE: Mapping[str, Rule] = {"sha256": TEXT, "device_name": maybe(TEXT)}
"""What a study keeps of the table that its latencies are sums of."""
SCORED_STARTS: Mapping[str, Rule] = {"by": TEXT, "values": list_of(MAPPING)}
"""Networks that a search begins with, and the scores that chose them, in a line."""
EXAMPLE: Mapping[str, Rule] = {"image": TEXT, "truth": TEXT}
"""One of the scored images, and its truth, as `acmix_nas.thumbnails` writes them."""
SETTINGS: Mapping[str, Rule] = {
    "asked": MAPPING,
    "base": MAPPING,
    "budget": MAPPING,
    "data": TEXT,
    "examples": list_of(MAPPING),
    "first": mapping_of(MAPPING),
    "head": maybe(HEAD),
    "lag": maybe(whole(1)),
    "latency_table": maybe(MAPPING),
    "limits": mapping_of(NUMBER),
    "metric": TEXT,
    "notes": list_of(TEXT),
    "order": one_of("fixed", "free"),
    "proxy": MAPPING,
    "prune": one_of("asha", "none"),
    "random_starts": COUNT,
    "reference": maybe(mapping_of(NUMBER)),
    "rows": mapping_of(MAPPING),
    "sampler": TEXT,
    "scored_starts": maybe(MAPPING),
    "space": MAPPING,
    "table": maybe(TEXT),
    "task": TEXT,
    "warm_start": list_of(TEXT),
}
"""Settings that are read again; each may be left out where its study has no use for it. Others are kept as they are."""
ASKED: Mapping[str, Rule] = {
    **dict.fromkeys(("data", "task", "head", "metric"), maybe(TEXT)),
    "epochs": maybe(whole(1)),
    "proxy": maybe(TEXT),
    "proxy_images": maybe(whole(1)),
    "seed": maybe(COUNT),
}
