"""Seven sets of clothes, as the paper's Table 3 has them: plainly different ones."""

from dataclasses import replace

import numpy as np

from kpose_datasets.studio.outfit import Color, Outfit

CLOTHINGS = range(1, 8)
"""Their numbers."""


def outfit(look: Outfit, clothing: int, seed: list[int]) -> Outfit:
    """Return what a person wears in a set of clothes.

    Args:
        look: Whose skin and hair these are.
        clothing: 1 to 7: its cut, pattern and looseness.
        seed: Chooses the colours of the wardrobe: those of all seven differ.
    """
    rng = np.random.default_rng(seed)
    # One hue for each set, as far from each other as seven can be.
    hues = (rng.random() + rng.permutation(7) / 7) % 1
    dark, light = rng.uniform(0.05, 0.14), rng.uniform(0.82, 0.94)

    def dyed(strength: float, value: float, shift: float = 0.0) -> Color:
        return _dye(float(hues[clothing - 1]) + shift, strength, value)

    black: Color = (dark, dark, 1.1 * dark)
    white: Color = (light, light, 0.97 * light)
    denim = _dye(float(rng.normal(0.6, 0.02)), 0.5, float(rng.uniform(0.3, 0.5)))
    beige = _dye(0.1, 0.25, float(rng.uniform(0.5, 0.7)))
    plain = replace(
        look,
        shirt=dyed(0.7, 0.6),
        shirt_second=white,
        pattern="plain",
        sleeves=1.95,
        bottom=black,
        trousers=1.95,
        skirt=0.0,
        shoes=(0.12, 0.11, 0.1),
        stripe=False,
        loose=0.006,
        hem=0.0,
    )
    if clothing == 1:  # a jumper and dark trousers
        return plain
    if clothing == 2:  # a striped T-shirt and jeans
        return replace(
            plain,
            shirt=white,
            shirt_second=dyed(0.85, 0.45),
            pattern="stripes",
            sleeves=0.5,
            bottom=denim,
            shoes=white,
        )
    if clothing == 3:  # a top without sleeves and shorts
        return replace(
            plain,
            shirt=dyed(0.9, 0.85),
            sleeves=0.0,
            bottom=beige,
            trousers=0.6,
            loose=0.002,
            shoes=dyed(0.6, 0.5, 0.4),
            hem=0.05,
        )
    if clothing == 4:  # a loose checked shirt over light trousers
        return replace(
            plain,
            shirt=dyed(0.75, 0.5),
            shirt_second=dyed(0.35, 0.85, 0.15),
            pattern="check",
            bottom=beige,
            loose=0.024,
            shoes=(0.35, 0.22, 0.13),
        )
    if clothing == 5:  # a dress
        return replace(
            plain,
            shirt=dyed(0.6, 0.75),
            sleeves=0.4,
            bottom=dyed(0.6, 0.75),
            skirt=1.1,
            bell=True,
            loose=0.008,
            shoes=dyed(0.7, 0.3),
        )
    if clothing == 6:  # a wide black hooded jumper with a print, sports trousers
        return replace(
            plain,
            shirt=black,
            shirt_second=dyed(0.8, 0.95),
            pattern="print",
            bottom=(0.42, 0.43, 0.45),
            stripe=True,
            loose=0.034,
            shoes=white,
        )
    return replace(  # 7: a white shirt with pinstripes and coloured knee breeches
        plain,
        shirt=white,
        shirt_second=dyed(0.6, 0.6),
        pattern="pinstripes",
        sleeves=1.5,
        bottom=dyed(0.8, 0.4, 0.1),
        trousers=1.4,
        loose=0.014,
        shoes=black,
        hem=0.08,
    )


def _dye(hue: float, strength: float, value: float) -> Color:
    """Return a colour of a hue wheel of three cosines."""
    wheel = 0.5 + 0.5 * np.cos(2 * np.pi * (hue + np.array([0, -1, 1]) / 3))
    red, green, blue = (value * (1 - strength + strength * wheel)).tolist()
    return float(red), float(green), float(blue)
