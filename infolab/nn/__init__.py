"""Networks: the lab's one U-Net, its blocks and the embeddings of time."""
