"""Operators that mix the pixels of a map: (B, C_in, H, W) -> (B, C_out, ceil(H/s), ceil(W/s)).

Each public file here is an operator named by its file. It offers two functions:

    build(mixer, **site) -> torch.nn.Module
    count(mixer, *, input_map, **site) -> tuple[acmix_nas.parts.Part, ...]   exact, builds nothing

Modules of the parts are named within the operator, "" for the operator itself; their stage is None.

`site` says where in a host the operator stands. An operator takes what concerns it and ignores the rest:

    in_channels, out_channels   widths
    stride, dilation            of queries and kernels; 1 if left out
    fc_bias                     whether ACmix's light fully connected layer has a bias
    map_size                    (height, width) the host was built for; None if it was built for none
    shifted                     whether windows are shifted in this block
    conv_on                     "rolled" or "image": the map that the convolution path of a shifted block sees
    key_channels                channels of q and k, if the attention mode lets them differ from out_channels (SAN)
    sr_ratio                    spatial reduction of k and v, if the attention mode has one (PVT)
    class_token                 whether a class token is fed beside the map, to modes that see the whole map (PVT)
    kernel_bias                 whether ACmix's convolution path ends in a bias

`input_map` is the (height, width) that is fed. An operator may further offer the methods `mixing()`, its weights of
attention and convolution, and `set_input_size(map_size)`, which fits windows to a new map. Where a mixer's attention
sees the whole map (`arch.MAP_WIDE_ATTENTION`), a host may call operator(x, token) with a class token (B, 1, C_in) and
gets the map and the token (B, 1, C_out).

While a network is scored, two submodules are observed where an operator has them: `combine.sum`, called with what both
paths contribute, each (B, h, w, C), and `combine.gate`, whose output (B, 2, C) is alpha and beta of every image.
"""
