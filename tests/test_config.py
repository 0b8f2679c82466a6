"""Recipes: every preset loads, says the paper's numbers, and errors name the place."""

import tomllib

import pytest

from kpose import config, models
from kpose.config import Config
from kpose.errors import InputError

GOOD = """
[training]
epochs = 1
batch = 2
optimizer = "sgd"
learning_rate = 1
"""


def test_presets_are_complete():
    assert {"compact", "finetune", "pretrain", "short"} <= set(config.presets())
    for name in config.presets():
        recipe = config.load(name)
        assert recipe.training.epochs > 0
        if recipe.model:
            assert recipe.model["name"] in models.MODELS


def test_the_papers_numbers():
    pretrain, finetune = config.load("pretrain"), config.load("finetune")

    assert pretrain.model == {
        "name": "linna2016",
        "size": 224,
        "lrn": True,
        "dropout": 0.5,
    }
    for recipe, rate in ((pretrain, 1e-2), (finetune, 1e-3)):  # section 3.6
        assert recipe.training.optimizer == "sgd"
        assert recipe.training.learning_rate == rate
        assert recipe.training.batch == 256
        assert recipe.augmentation.flip == 0.5  # section 3.2: doubled by a flip
        assert recipe.augmentation.rotation == recipe.augmentation.scale == 0
    assert pretrain.training.validation_persons == 2000  # section 3.3


def test_short_differs_from_compact_only_in_size_and_length():
    short, compact = config.load("short").to_json(), config.load("compact").to_json()

    differing = {
        key
        for table in compact
        for key in compact[table]
        if compact[table][key] != short[table][key]
    }

    assert differing == {"size", "epochs"}


@pytest.mark.parametrize("name", ["pretrain", "finetune", "compact", "short"])
def test_resolved_config_reads_back(name):
    recipe = config.load(name)

    assert Config.from_json(tomllib.loads(recipe.to_toml())) == recipe


def test_a_file_is_a_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)

    recipe = config.load(path)

    assert recipe.training.learning_rate == 1
    assert recipe.augmentation.flip == 0


def test_new_looks_are_parsed_and_read_back(tmp_path):
    text = GOOD + '[augmentation]\nclothing = 0.5\nbackground = 1\nrooms = "room.png"'
    path = tmp_path / "mine.toml"
    path.write_text(text)

    recipe = config.load(path)

    assert recipe.augmentation.clothing == 0.5
    assert recipe.augmentation.background == 1
    assert recipe.augmentation.rooms == "room.png"
    assert Config.from_json(tomllib.loads(recipe.to_toml())) == recipe


def test_what_says_nothing_of_looks_is_written_as_before():
    """Otherwise no run of an earlier version could be resumed."""
    assert list(config.load("short").to_json()["augmentation"]) == [
        *("flip", "rotation", "scale", "shift", "color", "cutout")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nepochs = 1", r"mine.toml: \[training\] lacks batch, optimizer"),
        (GOOD + "momentum = 0.9", r"\[training\]: keys must be of .* Received: moment"),
        (GOOD + "[augment]", r"tables must be model, .* Received: augment"),
        (GOOD.replace("1\nb", '"1"\nb'), r"epochs must be int. Received: '1'"),
        (GOOD.replace("epochs = 1", "epochs = true"), "epochs must be int"),
        (GOOD.replace("epochs = 1", "epochs = 1.5"), "epochs must be int"),
        (GOOD.replace("epochs = 1", "epochs = 0"), "epochs must be positive"),
        (GOOD.replace("sgd", "adam"), "optimizer must be one of sgd, adamw"),
        (GOOD + "ema = 1.0", r"ema must be in \[0, 1\)"),
        (GOOD + "patience = -1", "patience must not be negative"),
        (GOOD + "[model]\nsize = 64", r"\[model\] must have a name"),
        (GOOD + "[augmentation]\nclothing = 1.5", "clothing must be a probability"),
        (GOOD + "[augmentation]\nbackground = -0.1", "background must be a probab"),
        (GOOD + "[augmentation]\nbackground = 0.5", "background needs .*rooms"),
        (GOOD + "[augmentation]\nrooms = 3", "rooms must be str. Received: 3"),
        ("epochs", "mine.toml must be a TOML file"),
    ],
)
def test_wrong_files_are_refused(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)

    with pytest.raises(InputError, match=message):
        config.load(path)


def test_an_unknown_name_lists_the_presets():
    with pytest.raises(InputError, match=r"compact, .*finetune.* Received: quick"):
        config.load("quick")
