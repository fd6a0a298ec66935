"""Initial weights as a function of a seed and of each parameter's name, never of the global random state."""

import math

import torch
from torch import nn

from common.errors import UserError
from common.seeds import generator

# A transposed convolution's weight is (in, out, ...): weight[0] has PyTorch's own idea of its fan-in.
_LAYERS_WITH_FAN_IN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)
_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._BatchNorm)


@torch.no_grad()
def initialise_(module: nn.Module, seed: int) -> None:
    """Draw every parameter of `module` from PyTorch's default distributions, each from its own named stream.

    Linear and convolution weights and biases: U(-1/sqrt(fan_in), 1/sqrt(fan_in)), which is what PyTorch's
    `kaiming_uniform_(a=sqrt(5))` comes to. Normalisation layers: weight 1, bias 0. A parameter called `name` is drawn
    from `generator(seed, "init", name)`, on the CPU in float32, so that the weights do not depend on the device, the
    order of construction or the presence of other parameters.

    Raises:
        UserError: a parameter belongs to a kind of layer that is not listed above.
    """
    for prefix, layer in module.named_modules():
        for name, parameter in layer.named_parameters(prefix=prefix, recurse=False):
            if isinstance(layer, _NORMS):
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            elif isinstance(layer, _LAYERS_WITH_FAN_IN):
                bound = 1 / math.sqrt(layer.weight[0].numel())
                drawn = torch.rand(parameter.shape, generator=generator(seed, "init", name), device="cpu")
                parameter.copy_(drawn * (2 * bound) - bound)
            else:
                raise UserError(
                    f"no initial distribution is known for '{name}' of a {type(layer).__name__}: "
                    "use linear, convolution and normalisation layers"
                )


@torch.no_grad()
def zero_(layer: nn.Module) -> None:
    """Set every parameter of `layer` to 0, so that the branch it ends starts as the zero function."""
    for parameter in layer.parameters():
        parameter.zero_()
