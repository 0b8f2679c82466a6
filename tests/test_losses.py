import keras
import numpy as np
import pytest
import tensorflow as tf

from kpose.losses import MaskedEuclidean, SimCCLoss
from kpose.models.heads import BIN_RANGE, bin_centres

# Two persons, two joints: x, y, annotated.
TRUTH = np.array(
    [[[0.2, 0.4, 1], [0.6, 0.8, 1]], [[0.5, 0.5, 1], [0.1, 0.9, 0]]], np.float32
)
PREDICTED = np.array(
    [[[0.3, 0.2, 1], [0.6, 0.4, 1]], [[0.8, 0.9, 1], [0.7, 0.7, 1]]], np.float32
)[..., :2]


def value_and_gradient(loss, y_true, y_pred):
    y_pred = tf.convert_to_tensor(y_pred)
    with tf.GradientTape() as tape:
        tape.watch(y_pred)
        value = loss(y_true, y_pred)
    return value.numpy(), tape.gradient(value, y_pred).numpy()


def test_euclidean_value_and_gradient_equal_eq_1_by_hand():
    y_true = TRUTH.copy()
    y_true[1, 1, 2] = 1

    value, gradient = value_and_gradient(MaskedEuclidean(), y_true, PREDICTED)

    # (0.1^2 + 0.2^2 + 0.4^2) + (0.3^2 + 0.4^2 + 0.6^2 + 0.2^2) = 0.21 + 0.65;
    # 1 / (2 N) with N = 2 persons.
    np.testing.assert_allclose(value, 0.86 / 4, rtol=1e-6)
    expected = [[[0.05, -0.1], [0, -0.2]], [[0.15, 0.2], [0.3, -0.1]]]
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


def test_euclidean_leaves_out_unannotated_joints_and_keeps_the_divisor():
    value, gradient = value_and_gradient(MaskedEuclidean(), TRUTH, PREDICTED)

    np.testing.assert_allclose(value, (0.21 + 0.25) / 4, rtol=1e-6)
    expected = [[[0.05, -0.1], [0, -0.2]], [[0.15, 0.2], [0, 0]]]
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


def test_euclidean_is_zero_without_annotated_joints():
    y_true = TRUTH * [1, 1, 0]

    value, gradient = value_and_gradient(MaskedEuclidean(), y_true, PREDICTED)

    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros_like(PREDICTED))


def test_a_batch_weighs_like_the_mean_of_its_samples():
    loss = MaskedEuclidean()

    whole = loss(TRUTH, PREDICTED)

    parts = [loss(TRUTH[i : i + 1], PREDICTED[i : i + 1]) for i in range(2)]
    np.testing.assert_allclose(whole, np.mean(parts), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=["nan", "inf"])
@pytest.mark.parametrize(
    ("loss", "y_pred"),
    [
        (MaskedEuclidean(), PREDICTED),
        (
            SimCCLoss(),
            np.random.default_rng(1).normal(size=(2, 2, 2, 20)).astype(np.float32),
        ),
    ],
    ids=["euclidean", "simcc"],
)
def test_what_an_unannotated_target_holds_leaks_nowhere(loss, y_pred, bad):
    y_true = TRUTH.copy()
    y_true[1, 1, :2] = bad

    value, gradient = value_and_gradient(loss, y_true, y_pred)

    clean_value, clean_gradient = value_and_gradient(loss, TRUTH, y_pred)
    assert value == clean_value
    np.testing.assert_array_equal(gradient, clean_gradient)
    np.testing.assert_array_equal(gradient[1, 1], 0)
    assert np.abs(gradient[1, 0]).sum() > 0


def gaussian_logits(y_true, bins, sigma):
    distance = (bin_centres(bins) - y_true[..., :2, None]) / sigma
    return (-0.5 * distance**2).astype(np.float32)


def test_the_bins_share_the_range_equally():
    np.testing.assert_allclose(bin_centres(5), [0, 0.25, 0.5, 0.75, 1], atol=1e-7)
    assert BIN_RANGE == (-0.125, 1.125)


def test_simcc_is_zero_with_no_gradient_at_the_matching_distribution():
    logits = gaussian_logits(TRUTH, bins=40, sigma=0.05) + 3.0

    value, gradient = value_and_gradient(SimCCLoss(sigma=0.05), TRUTH, logits)

    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_simcc_equals_a_hand_computation_on_four_bins():
    # Centres at 0.03125, 0.34375, 0.65625, 0.96875; sigma is one bin, so that bins at
    # distance 0, 1, 2, 3 from the joint weigh 1, e^-0.5, e^-2, e^-4.5.
    sigma, first, last = 0.3125, 0.03125, 0.96875
    y_true = np.array(
        [[[first, last, 1], [0.5, 0.5, 0]], [[0.5, 0.5, 0], [0.5, 0.5, 0]]], np.float32
    )
    weights = np.exp([0, -0.5, -2, -4.5])
    target = weights / weights.sum()
    logits = np.zeros((2, 2, 2, 4), np.float32)
    logits[0, 0, 0] = np.log([0.1, 0.2, 0.3, 0.4])  # x: against the grain
    # y stays uniform.

    value, gradient = value_and_gradient(SimCCLoss(sigma), y_true, logits)

    kl_x = (target * np.log(target / [0.1, 0.2, 0.3, 0.4])).sum()
    kl_y = (target * np.log(target / 0.25)).sum()
    # One annotated joint of J = 2, in one person of N = 2.
    np.testing.assert_allclose(value, (kl_x + kl_y) / 4, rtol=1e-5)
    np.testing.assert_allclose(
        gradient[0, 0, 0], ([0.1, 0.2, 0.3, 0.4] - target) / 4, atol=1e-6
    )
    np.testing.assert_allclose(gradient[0, 0, 1], (0.25 - target[::-1]) / 4, atol=1e-6)
    np.testing.assert_array_equal(gradient[0, 1], 0)
    np.testing.assert_array_equal(gradient[1], 0)


@pytest.mark.parametrize(
    ("x", "y", "counts"),
    [
        (-0.125, 1.125, True),
        (-0.126, 0.5, False),
        (0.5, 1.126, False),
        (np.nan, 0.5, False),
    ],
    ids=["edges", "left of the bins", "below the bins", "nan"],
)
def test_a_joint_outside_the_bins_has_no_weight(x, y, counts):
    y_true = np.array([[[x, y, 1]]], np.float32)
    logits = np.zeros((1, 1, 2, 10), np.float32)

    value, gradient = value_and_gradient(SimCCLoss(), y_true, logits)

    assert (value > 0) == counts
    assert np.isfinite(gradient).all() and gradient.any() == counts


@pytest.mark.parametrize(
    ("loss", "y_pred"),
    [
        (MaskedEuclidean(name="a"), PREDICTED),
        (SimCCLoss(sigma=0.03, name="b"), np.zeros((2, 2, 2, 20), np.float32)),
    ],
    ids=["euclidean", "simcc"],
)
def test_losses_survive_saving(loss, y_pred):
    again = keras.losses.deserialize(keras.losses.serialize(loss))

    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    np.testing.assert_array_equal(again(TRUTH, y_pred), loss(TRUTH, y_pred))


@pytest.mark.parametrize("sigma", [0, -1, float("nan")])
def test_simcc_refuses_a_sigma_that_is_not_positive(sigma):
    with pytest.raises(ValueError, match="sigma must be positive"):
        SimCCLoss(sigma=sigma)
