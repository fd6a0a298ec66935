"""Many small images laid out as one picture."""

import numpy as np


def mosaic(images: np.ndarray, side: int = 4) -> np.ndarray:
    """At most side x side images (n, h, w[, 3]) as one picture, a white line between them."""
    side = min(side, int(np.sqrt(len(images))))
    h, w = images.shape[1:3]
    out = np.ones((side * (h + 1) - 1, side * (w + 1) - 1, *images.shape[3:]))
    for index in range(side * side):
        top, left = (index // side) * (h + 1), (index % side) * (w + 1)
        out[top : top + h, left : left + w] = images[index]
    return out
