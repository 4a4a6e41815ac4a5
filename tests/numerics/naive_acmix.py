"""ACmix in plain float64 loops, written from the specification alone: the oracle of the numerics tests.

Everything is a numpy array of one image, (channels, height, width); `weights` are those of the module under test.
"""

import itertools
import math

import numpy as np


def softmax(logits):
    exps = np.exp(np.asarray(logits) - max(logits))
    return exps / exps.sum()


def project(x, weight, bias):
    """A 1x1 convolution."""
    return np.tensordot(weight, x, axes=(1, 0)) + bias[:, None, None]


def local_attention(q, k, v, position, *, heads, kernel, stride, dilation):
    """softmax(d^-0.5 q . (k - W loc)) v with reflected borders; keys and positions are padded together."""
    channels, height, width = q.shape
    depth = channels // heads
    loc = np.zeros((2, height, width))
    loc[0] = np.linspace(-1, 1, width)[None, :]
    loc[1] = np.linspace(-1, 1, height)[:, None]
    p = np.tensordot(position, loc, axes=(1, 0))
    margin = dilation * (kernel // 2)
    around = ((0, 0), (margin, margin), (margin, margin))
    out = np.zeros((channels, math.ceil(height / stride), math.ceil(width / stride)))
    for head in range(heads):
        part = slice(head * depth, (head + 1) * depth)
        keys = np.pad(k[part] - p, around, mode="reflect")
        values = np.pad(v[part], around, mode="reflect")
        for i, j in np.ndindex(out.shape[1:]):
            query = q[part, i * stride, j * stride]
            places = [
                (i * stride + a * dilation, j * stride + b * dilation)
                for a, b in itertools.product(range(kernel), repeat=2)
            ]
            weights = softmax([depth**-0.5 * query @ keys[:, y, x] for y, x in places])
            out[part, i, j] = sum(w * values[:, y, x] for w, (y, x) in zip(weights, places, strict=True))
    return out


def window_attention(q, k, v, table, *, heads, window, shift=(0, 0)):
    """Attention inside windows of a map they divide, with relative position bias; rolled pixels keep apart."""
    channels, height, width = q.shape
    depth = channels // heads
    rows, columns = window
    out = np.zeros_like(q)
    for top, left, head in itertools.product(range(0, height, rows), range(0, width, columns), range(heads)):
        part = slice(head * depth, (head + 1) * depth)
        inside = list(itertools.product(range(top, top + rows), range(left, left + columns)))
        for y, x in inside:
            logits = []
            for b, a in inside:
                bias = table[(y - b + rows - 1) * (2 * columns - 1) + (x - a + columns - 1), head]
                apart = [
                    (first >= extent - s) != (second >= extent - s)
                    for first, second, extent, s in zip((y, x), (b, a), (height, width), shift, strict=True)
                ]
                logits.append(depth**-0.5 * q[part, y, x] @ k[part, b, a] + bias - (100 if any(apart) else 0))
            weights = softmax(logits)
            out[part, y, x] = sum(w * v[part, b, a] for w, (b, a) in zip(weights, inside, strict=True))
    return out


def patchwise_attention(q, k, v, weights, *, kernel, stride, dilation):
    """v weighed by phi([q_i, k_j of the whole window]); channel c takes weight channel c mod C / 8."""
    out, windows = _reflected_windows(k, v, kernel, stride, dilation)
    groups = len(v) // 8
    for (i, j), (keys, values) in windows:
        relation = [*q[:, i * stride, j * stride], *(keys[channel][p] for channel, p in np.ndindex(keys.shape))]
        hidden = weights["attention.reduction.weight"] @ np.maximum(_normed(relation, weights, "attention.norm1"), 0)
        hidden = np.maximum(_normed(hidden, weights, "attention.norm2"), 0)
        logits = weights["attention.expansion.weight"] @ hidden + weights["attention.expansion.bias"]
        for channel in range(len(v)):
            first = (channel % groups) * kernel**2
            out[channel, i, j] = logits[first : first + kernel**2] @ values[channel]
    return out


def pairwise_attention(q, k, v, weights, *, kernel, stride, dilation):
    """v weighed by softmax of gamma([q_i - k_j, p_i - p_j]); keys and positions are padded together."""
    _, height, width = k.shape
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")[::-1])
    p = np.tensordot(weights["attention.position.weight"], grid, axes=(1, 0))
    out, windows = _reflected_windows(np.concatenate((k, p)), v, kernel, stride, dilation)
    groups = len(v) // 8
    for (i, j), (keys, values) in windows:
        centre = np.concatenate((q, p))[:, i * stride, j * stride]
        logits = []
        for place in range(kernel**2):
            hidden = np.maximum(_normed(centre - keys[:, place], weights, "attention.norm1"), 0)
            hidden = np.maximum(_normed(weights["attention.reduction.weight"] @ hidden, weights, "attention.norm2"), 0)
            logits.append(weights["attention.expansion.weight"] @ hidden + weights["attention.expansion.bias"])
        for channel in range(len(v)):
            out[channel, i, j] = softmax([row[channel % groups] for row in logits]) @ values[channel]
    return out


def global_attention(q, k, v, *, heads):
    """Sequences (channels, length): every query attends to every key."""
    depth = len(q) // heads
    out = np.zeros_like(q)
    for head, i in np.ndindex(heads, q.shape[1]):
        part = slice(head * depth, (head + 1) * depth)
        weights = softmax([depth**-0.5 * q[part, i] @ k[part, j] for j in range(k.shape[1])])
        out[part, i] = sum(w * v[part, j] for j, w in enumerate(weights))
    return out


def _reflected_windows(k, v, kernel, stride, dilation):
    """An empty result, and for each of its pixels the keys and values around it, (channels, kernel ** 2)."""
    margin = dilation * (kernel // 2)
    around = ((0, 0), (margin, margin), (margin, margin))
    keys, values = np.pad(k, around, mode="reflect"), np.pad(v, around, mode="reflect")
    out = np.zeros((len(v), math.ceil(v.shape[1] / stride), math.ceil(v.shape[2] / stride)))
    places = list(itertools.product(range(kernel), repeat=2))

    def window(x, i, j):
        return np.stack([x[:, i * stride + a * dilation, j * stride + b * dilation] for a, b in places], 1)

    return out, [((i, j), (window(keys, i, j), window(values, i, j))) for i, j in np.ndindex(out.shape[1:])]


def _normed(x, weights, name):
    """Batch normalisation with the running statistics."""
    scaled = (x - weights[f"{name}.running_mean"]) / np.sqrt(weights[f"{name}.running_var"] + 1e-5)
    return weights[f"{name}.weight"] * scaled + weights[f"{name}.bias"]


def convolution(qkv, fc, fc_bias, kernels, *, impl, heads, kernel, stride, dilation):
    """The light layer, then each map shifted by its place in the kernel, and the sum; zero outside.

    v may be wider than q and k: it gives as many more maps and results at each depth.
    """
    channels, height, width = qkv[2].shape
    depth = len(qkv[0]) // heads
    results = channels // depth
    middle = kernel // 2
    out = np.zeros((channels, math.ceil(height / stride), math.ceil(width / stride)))
    for level in range(depth):
        maps = [part[piece * depth + level] for part in qkv for piece in range(len(part) // depth)]
        mixed = [sum(fc[p, n] * maps[n] for n in range(len(maps))) + fc_bias[p] for p in range(kernel**2)]
        for head, i, j in np.ndindex(results, *out.shape[1:]):
            total = 0.0
            for p, u, v in np.ndindex(kernel**2, kernel, kernel):
                y, x = i * stride + (u - middle) * dilation, j * stride + (v - middle) * dilation
                if 0 <= y < height and 0 <= x < width:
                    total += _weight(impl, kernels, level, head, results, (p, u, v), kernel) * mixed[p][y, x]
            out[level * results + head, i, j] = total
    return out


def _weight(impl, kernels, level, head, heads, tap, kernel):
    p, u, v = tap
    if impl in ("shift", "groupconv"):
        return float((u, v) == (p // kernel, p % kernel))
    return kernels[(level, p, u, v) if impl == "learnable" else (level * heads + head, p, u, v)]


def combine(rule, att, conv, weights, x):
    """F = alpha F_att + beta F_conv."""
    if rule in ("att", "conv"):
        return att if rule == "att" else conv
    alpha, beta = _mixing(rule, weights, x)
    return np.reshape(alpha, (-1, 1, 1)) * att + np.reshape(beta, (-1, 1, 1)) * conv


def _mixing(rule, weights, x):
    if rule == "gated":
        hidden = weights["combine.gate.reduce.weight"] @ x.mean((1, 2)) + weights["combine.gate.reduce.bias"]
        logits = weights["combine.gate.expand.weight"] @ np.maximum(hidden, 0) + weights["combine.gate.expand.bias"]
        alpha, beta = np.exp(logits.reshape(2, -1))
        return alpha / (alpha + beta), beta / (alpha + beta)
    if rule == "convex":
        alpha = 1 / (1 + np.exp(-weights["combine.alpha_logit"]))
        return alpha, 1 - alpha
    fixed = {"sum": (1, 1), "half": (0.5, 0.5)}
    return fixed.get(rule) or (weights.get("combine.alpha", 1), weights["combine.beta"])


def _attention(qkv, weights, mode, heads, local):
    """The attention path of one mode; modes with proj end in it."""
    if mode == "local":
        return local_attention(*qkv, weights["attention.position.weight"], heads=heads, **local)
    if mode in ("patchwise", "pairwise"):
        return {"patchwise": patchwise_attention, "pairwise": pairwise_attention}[mode](*qkv, weights, **local)
    if mode == "window":
        table = weights["attention.relative_position_bias_table"]
        att = window_attention(*qkv, table, heads=heads, window=(local["kernel"], local["kernel"]))
    else:
        flat = (part.reshape(len(part), -1) for part in qkv)
        att = global_attention(*flat, heads=heads).reshape(qkv[0].shape)
    att = att[:, :: local["stride"], :: local["stride"]]
    return project(att, weights["attention.proj.weight"], weights["attention.proj.bias"])


def acmix(x, weights, *, attention, combine_rule, impl, heads, attn_kernel, conv_kernel, stride, dilation):
    """The whole operator on one image (C_in, H, W)."""
    height, width = x.shape[1:]
    padded = x
    if attention == "window" and combine_rule != "conv":
        padded = np.pad(x, ((0, 0), (0, -height % attn_kernel), (0, -width % attn_kernel)))
    q, k, v = np.split(project(padded, weights["qkv.weight"], weights["qkv.bias"]), 3)
    att = conv = None
    if combine_rule != "conv":
        local = {"kernel": attn_kernel, "stride": stride, "dilation": dilation}
        att = _attention((q, k, v), weights, attention, heads, local)[:, : -(-height // stride), : -(-width // stride)]
    if combine_rule != "att":
        fc = weights["convolution.fc.weight"]
        conv = convolution(
            [part[:, :height, :width] for part in (q, k, v)],
            fc,
            weights.get("convolution.fc.bias", np.zeros(len(fc))),
            weights.get("convolution.kernels.weight"),
            impl=impl,
            heads=heads,
            kernel=conv_kernel,
            stride=stride,
            dilation=dilation,
        )
    return combine(combine_rule, att, conv, weights, x)
