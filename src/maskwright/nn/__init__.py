"""Networks, losses and checkpoints: needs tensors and gradients."""
