"""``compact``: a small ImageNet backbone and a modern coordinate head."""

import warnings
from pathlib import Path
from typing import Any

import keras

from kpose.errors import InputError
from kpose.joints import BODY_13, Skeleton
from kpose.models import heads

BACKBONES: dict[str, tuple[str, float]] = {
    "mobilenet_v1_0.25": ("MobileNet", 0.25),
    "mobilenet_v2_0.35": ("MobileNetV2", 0.35),
    "mobilenet_v2_1.0": ("MobileNetV2", 1.0),
}
"""Backbone names, each a function of ``keras.applications`` and its width."""

STRIDE_16 = {"MobileNet": "conv_pw_11_relu", "MobileNetV2": "block_12_add"}
STRIDE_32 = {"MobileNet": "conv_pw_13_relu", "MobileNetV2": "block_16_project_BN"}
EARLY = {"MobileNet": "conv_pw_3_relu", "MobileNetV2": "block_2_add"}
"""The last layer at stride 4. Edges and colours carry over from ImageNet; not training
these layers makes a step 1.7 times as fast (docs/decisions.md)."""

NECK_CHANNELS = 192
BATCH_NORM_MOMENTUM = 0.95
"""Keras's MobileNets have 0.999: the statistics lag the weights in short trainings."""


def build(
    *,
    skeleton: Skeleton = BODY_13,
    size: int = 192,
    backbone: str = "mobilenet_v2_1.0",
    head: str = "simcc",
    sharpness: float = 1.0,
    freeze_early: bool = True,
    backbone_weights: Path | str | None = None,
) -> keras.Model:
    """Return the network: backbone, neck at stride 16, head.

    Args:
        skeleton: The joints to find.
        size: Side of the square input in pixels, a multiple of 32.
        backbone: A name in ``BACKBONES``.
        head: ``"simcc"`` or ``"regression"`` (the paper's).
        sharpness: See ``heads.SimCCDecode``.
        freeze_early: Whether the layers down to stride 4 keep their weights; only where
            ``backbone_weights`` are given.
        backbone_weights: A ``.weights.h5`` file without the top, ``"imagenet"`` to
            download Keras's own, or None for random weights.

    Returns:
        A model from ``image`` ``(batch, size, size, 3)`` RGB 0..255 to the dict of
        ``kpose.models.heads``.

    Raises:
        InputError: If a name is unknown, the size is no multiple of 32, or the weights
            do not fit the backbone.
    """
    if backbone not in BACKBONES:
        raise InputError(
            f"backbone must be one of {', '.join(BACKBONES)}. Received: {backbone!r}"
        )
    if head not in ("simcc", "regression"):
        raise InputError(f"head must be simcc or regression. Received: {head!r}")
    if size % 32 or size < 32:
        raise InputError(f"size must be a multiple of 32. Received: {size}")
    family, alpha = BACKBONES[backbone]
    features = _backbone(family, alpha, size, backbone_weights, freeze_early)

    image = keras.Input((size, size, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="normalise")(image)
    fine, coarse = features(x)
    x = _conv_norm(coarse, "neck_coarse")
    x = keras.layers.UpSampling2D(2, name="neck_upsample")(x)
    x = keras.layers.Add(name="neck_add")([x, _conv_norm(fine, "neck_fine")])
    x = keras.layers.ReLU(name="neck_relu")(x)
    x = keras.layers.DepthwiseConv2D(
        5, padding="same", use_bias=False, name="neck_mix"
    )(x)
    x = keras.layers.BatchNormalization(
        momentum=BATCH_NORM_MOMENTUM, name="neck_mix_norm"
    )(x)
    x = keras.layers.ReLU(name="neck_mix_relu")(x)
    if head == "regression":
        outputs = heads.regression(x, len(skeleton))
    else:
        low, high = heads.BIN_RANGE
        # One bin per input pixel.
        bins = round((high - low) * size)
        outputs = heads.simcc(x, len(skeleton), bins, sharpness)
    return keras.Model(image, outputs, name="compact")


def _backbone(
    family: str, alpha: float, size: int, weights: Path | str | None, freeze: bool
) -> keras.Model:
    try:
        with warnings.catch_warnings():
            # Keras only warns when it leaves layers at random that a file lacks.
            warnings.simplefilter("error", UserWarning)
            net = getattr(keras.applications, family)(
                alpha=alpha,
                include_top=False,
                weights=None if weights is None else str(weights),
                input_shape=(size, size, 3),
            )
    except (ValueError, OSError, UserWarning) as error:
        raise InputError(
            f"{weights} must hold weights of {family} {alpha} without its top: "
            f"{str(error).splitlines()[0]}"
        ) from None
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    if freeze and weights is not None:
        for layer in net.layers:
            layer.trainable = False
            if layer.name == EARLY[family]:
                break
    taps = [net.get_layer(taps[family]).output for taps in (STRIDE_16, STRIDE_32)]
    return keras.Model(net.input, taps, name="backbone")


def _conv_norm(x: Any, name: str) -> Any:
    x = keras.layers.Conv2D(NECK_CHANNELS, 1, use_bias=False, name=name)(x)
    return keras.layers.BatchNormalization(
        momentum=BATCH_NORM_MOMENTUM, name=f"{name}_norm"
    )(x)
