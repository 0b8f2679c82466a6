"""The paper's network (Linna, Kannala, Rahtu 2016, sections 3.5 and 3.6).

The paper gives no layer sizes. They follow VGG_CNN_S, the published Oxford network that
fits every sentence of the text (docs/decisions.md): five convolutions, non-overlapping
pooling after the first, second and fifth, three fully connected layers.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from kpose.joints import BODY_13, Skeleton


@keras.saving.register_keras_serializable(package="kpose")
class LocalResponseNormalization(keras.layers.Layer):
    """``y = x / (2 + 1e-4 * sum of squares of 5 neighbouring channels) ** 0.75``.

    Caffe's n = 5, alpha = 5e-4 (divided by n), beta = 0.75, k = 2. The sum is a 1x1
    convolution and the power two square roots, ops that XNNPACK and int8 kernels run.
    """

    def call(self, x: Any) -> Any:
        """Normalise ``(batch, height, width, channels)`` over its channels."""
        channels = x.shape[-1]
        near = np.abs(np.subtract.outer(np.arange(channels), np.arange(channels))) <= 2
        kernel = (1e-4 * near[None, None]).astype(np.float32)
        total = 2.0 + ops.conv(
            ops.square(x), ops.cast(kernel, x.dtype), padding="valid"
        )
        root = ops.rsqrt(total)
        return x * root * ops.sqrt(root)


def build(
    *,
    skeleton: Skeleton = BODY_13,
    size: int = 224,
    lrn: bool = True,
    dropout: float = 0.5,
    width: float = 1.0,
) -> keras.Model:
    """Return the untrained network: 98,918,042 weights at the default.

    Args:
        skeleton: The joints to regress.
        size: Side of the square input in pixels.
        lrn: Whether conv1 is followed by local response normalisation.
        dropout: Rate after fc6 and fc7, 0 for none.
        width: Factor on the number of filters and units, for tests and small machines.

    Returns:
        A model from ``image`` ``(batch, size, size, 3)`` RGB 0..255 to
        ``{"keypoints": (batch, joints, 2)}`` in crop units, linear and unclipped.
    """

    def conv(x: Any, name: str, filters: int, kernel: int, **kwargs: Any) -> Any:
        return keras.layers.Conv2D(
            max(int(filters * width), 1),
            kernel,
            activation="relu",
            kernel_initializer=_caffe_xavier(),
            name=name,
            **kwargs,
        )(x)

    def dense(x: Any, name: str, units: int) -> Any:
        x = keras.layers.Dense(
            max(int(units * width), 1),
            activation="relu",
            kernel_initializer=_caffe_xavier(),
            name=name,
        )(x)
        return keras.layers.Dropout(dropout, name=f"{name}_drop")(x) if dropout else x

    image = keras.Input((size, size, 3), name="image")
    # Paper section 3.6: mean 127, range [-1, 1]; 128 keeps 255 inside.
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="normalise")(image)
    x = conv(x, "conv1", 96, 7, strides=2)
    if lrn:
        x = LocalResponseNormalization(name="lrn1")(x)
    x = _caffe_pool(x, "pool1", 3)
    x = conv(x, "conv2", 256, 5)
    x = _caffe_pool(x, "pool2", 2)
    x = conv(x, "conv3", 512, 3, padding="same")
    x = conv(x, "conv4", 512, 3, padding="same")
    x = conv(x, "conv5", 512, 3, padding="same")
    x = _caffe_pool(x, "pool5", 3)
    x = keras.layers.Flatten(name="flatten")(x)
    x = dense(x, "fc6", 4096)
    x = dense(x, "fc7", 4096)
    x = keras.layers.Dense(
        2 * len(skeleton), kernel_initializer=_caffe_xavier(), name="fc8"
    )(x)
    keypoints = keras.layers.Reshape((len(skeleton), 2), name="keypoints")(x)
    return keras.Model(image, {"keypoints": keypoints}, name="linna2016")


def _caffe_xavier() -> keras.initializers.Initializer:
    """Caffe's Xavier is uniform +-sqrt(3 / fan_in), which Keras calls LeCun uniform."""
    return keras.initializers.LecunUniform()


def _caffe_pool(x: Any, name: str, size: int) -> Any:
    """Pool without overlap, rounding the size up as Caffe does.

    Caffe lets the last window hang over the right and bottom edge. Zeros there change
    no maximum, because what is pooled is never negative.
    """
    over = -x.shape[1] % size
    if over:
        x = keras.layers.ZeroPadding2D(((0, over), (0, over)), name=f"{name}_pad")(x)
    return keras.layers.MaxPooling2D(size, name=name)(x)
