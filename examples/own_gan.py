"""A GAN of one's own: any pair of torch modules.

    sim examples/own_gan.yaml

hearsay calls ``build`` with the shape of the images and with the settings that stand beside
its name in the experiment file, and looks at what comes out before anything trains: the
generator must turn z (batch, z) into images in [-1, 1], the discriminator images into logits
(batch, 1).
"""

from torch import nn

Shape = tuple[int, int, int]


def build(shape: Shape, z: int = 16, width: int = 64) -> tuple[nn.Module, nn.Module]:
    """(channels, height, width) of the images -> generator, discriminator."""
    pixels = shape[0] * shape[1] * shape[2]
    generator = nn.Sequential(
        nn.Linear(z, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, pixels),
        nn.Tanh(),
        nn.Unflatten(1, shape),
    )
    discriminator = nn.Sequential(
        nn.Flatten(),
        nn.Linear(pixels, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, 1),
    )
    return generator, discriminator
