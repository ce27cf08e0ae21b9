"""Layers → graph → GNN → layer embeddings → Transformer → network embedding; pairs, loss and training."""
