"""What is done to pictures, to each with numbers of its own: batched, on their device, uint8 in and uint8 out.

Every operation maps uint8 [n, 1 or 3, height, width] and float32 [n, k], the numbers of each picture, to pictures of
the same shape. Each gives what torchvision.transforms.v2.functional gives for one picture, up to a level where a float
is rounded; that takes one set of numbers for a batch. What a picture becomes does not depend, to the bit, on what it is
batched with: sums are of whole numbers, and there is no product of matrices. Nothing waits for a GPU: no tensor is made
from numbers of the host.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

Operation = Callable[[Tensor, Tensor], Tensor]
# Weights of red, green and blue in a grey picture (ITU-R 601).
GREY = (0.2989, 0.587, 0.114)


def flip(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Turn left to right."""
    return pixels.flip(3)


def vertical_flip(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Turn upside down."""
    return pixels.flip(2)


def shift(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Move right and down by whole pixels, (right, down), filling with 0."""
    _, _, height, width = pixels.shape
    right, down = numbers.long().unbind(1)
    rows = torch.arange(height, device=pixels.device)[None] - down[:, None]
    columns = torch.arange(width, device=pixels.device)[None] - right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    batch = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    moved = pixels.permute(0, 2, 3, 1)[
        batch, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    ]
    return (moved * inside[..., None]).permute(0, 3, 1, 2).contiguous()


def translate(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Move right and down by parts of the width and the height, cut to whole pixels, filling with 0."""
    right, down = numbers.unbind(1)
    return shift(pixels, torch.stack([right * pixels.shape[3], down * pixels.shape[2]], dim=1).trunc())


def affine(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Take the point p of a picture from A (p - o) + o, bilinear, and 0 from outside.

    The numbers are A by row, and where o is from the middle, in parts of the width and the height.
    """
    _, _, height, width = pixels.shape
    a, b, c, d, origin = (each[:, None, None] for each in numbers.unbind(1))
    x = torch.arange(width, device=pixels.device) + (0.5 - width / 2) - origin * width
    y = (torch.arange(height, device=pixels.device) + (0.5 - height / 2))[:, None] - origin * height
    from_x = (a * x + b * y + origin * width) / (width / 2)
    from_y = (c * x + d * y + origin * height) / (height / 2)
    grid = torch.stack([from_x, from_y], dim=3)
    return grid_sample(pixels.float(), grid, padding_mode="zeros", align_corners=False).round_().to(torch.uint8)


def brightness(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Multiply by a factor."""
    return _levels(pixels * _wide(numbers))


def contrast(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Move away from the mean grey by a factor."""
    grey = _grey(pixels) if pixels.shape[1] == 3 else pixels
    mean = grey.sum(dim=(1, 2, 3), keepdim=True, dtype=torch.float64) / grey[0].numel()
    return _blended(pixels, mean.float(), numbers)


def saturation(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Move away from the grey picture by a factor; a grey one stays as it is."""
    return _blended(pixels, _grey(pixels), numbers) if pixels.shape[1] == 3 else pixels


def hue(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Turn the colour wheel by a part of it; a grey picture stays as it is."""
    if pixels.shape[1] == 1:
        return pixels
    colour = pixels.float()
    red, green, blue = colour.unbind(1)
    low, high = colour.amin(dim=1), colour.amax(dim=1)
    chroma = high - low
    part = chroma.clamp_min(1)
    sixth = torch.where(
        high == red,
        (green - blue) / part,
        torch.where(high == green, (blue - red) / part + 2, (red - green) / part + 4),
    )
    sixth = sixth + 6 * numbers[:, :, None]
    # Of red, green and blue: how far each is below the highest, in parts of the chroma (Smith, 1978, turned round).
    place = (sixth[:, None] + (5 - 2 * torch.arange(3, device=pixels.device))[:, None, None]).remainder(6)
    below = torch.minimum(place, 4 - place).clamp(0, 1)
    # A float of [0, 1] becomes one of 256 levels of the same width.
    return ((high[:, None] - chroma[:, None] * below) * (255.999 / 255)).clamp(0, 255).to(torch.uint8)


def sharpness(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Move away from the picture smoothed by 3 x 3 points, the middle one five times, by a factor; but for its edge."""
    if min(pixels.shape[2:]) < 3:
        return pixels
    whole = pixels.float()
    across = whole[..., :-2] + whole[..., 1:-1] + whole[..., 2:]
    inner = whole[..., 1:-1, 1:-1]
    smooth = ((across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :] + 4 * inner) / 13).round_()
    sharper = pixels.clone()
    sharper[..., 1:-1, 1:-1] = _levels(inner + (smooth - inner) * (1 - _wide(numbers)))
    return sharper


def posterize(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Keep so many of the 8 bits of a level, the highest."""
    dropped = 8 - numbers.to(torch.uint8)
    return pixels >> _wide(dropped) << _wide(dropped)


def solarize(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Invert levels from a threshold on."""
    return torch.where(pixels >= _wide(numbers.ceil().to(torch.uint8)), ~pixels, pixels)


def invert(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Turn light to dark."""
    return ~pixels


def autocontrast(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Stretch each channel from 0 to 255."""
    low, high = (
        each.float() for each in (pixels.amin(dim=(2, 3), keepdim=True), pixels.amax(dim=(2, 3), keepdim=True))
    )
    flat = high == low
    scale = torch.where(flat, 1.0, (high - low) * (1 / 255))
    return _levels((pixels - torch.where(flat, 0.0, low)) / scale)


def equalize(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Give each channel levels that are about equally frequent, as PIL does."""
    n, channels, height, width = pixels.shape
    flat = pixels.reshape(n, channels, -1).long()
    count = torch.zeros(n, channels, 256, dtype=torch.int32, device=pixels.device)
    count.scatter_add_(2, flat, torch.ones((), dtype=torch.int32, device=pixels.device).expand_as(flat))
    until = count.cumsum(2)
    highest = pixels.amax(dim=(2, 3)).long()[..., None]
    step = (height * width - count.gather(2, highest)).div(255, rounding_mode="floor")
    before = torch.cat([torch.zeros_like(until[..., :1]), until[..., :-1]], dim=2)
    table = (before + step // 2).div(step.clamp_min(1), rounding_mode="floor").clamp(0, 255)
    table = torch.where(step > 0, table, torch.arange(256, device=pixels.device)).to(torch.uint8)
    return table.gather(2, flat).view_as(pixels)


def _wide(numbers: Tensor) -> Tensor:
    """Return one number a picture, [n, 1], in the shape that pictures are multiplied by."""
    return numbers[:, :, None, None]


def _grey(pixels: Tensor) -> Tensor:
    """Return the grey levels of colour pictures, float [n, 1, height, width], whole numbers."""
    red, green, blue = (pixels[:, i : i + 1] * weight for i, weight in enumerate(GREY))
    return red.add_(green).add_(blue).floor_()


def _blended(pixels: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """Return factor * pixels + (1 - factor) * other."""
    factor = _wide(factor)
    return _levels(pixels * factor + other * (1 - factor))


def _levels(picture: Tensor) -> Tensor:
    """Return a picture of floats as levels, cut off and not rounded."""
    return picture.clamp_(0, 255).to(torch.uint8)
