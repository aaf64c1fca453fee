"""What the tests of labels share: a small CLIP with both towers."""

CLIP = "ViT-S-32-alt"
