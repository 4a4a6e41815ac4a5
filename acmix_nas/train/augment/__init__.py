"""Augmentation: images cropped, moved, mirrored and recoloured in batches, and what timm does to them."""
