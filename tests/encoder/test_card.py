"""An encoder's card says what it was trained on, and a command that a command line reads back."""

from __future__ import annotations

import shlex
from dataclasses import replace

import typer
from typer.testing import CliRunner

from peace_pipeline.cli.options import read_settings, settings_of
from peace_pipeline.encoder.card import model_card, training_command
from peace_pipeline.encoder.settings import PairSettings, Settings
from peace_pipeline.zoo.listing import Listing

TRAINING = {
    "networks": 1234,
    "tasks": 5,
    "architectures": {"cnn": 1000, "mlp": 234},
    "epochs": 7,
    "validation_networks": 99,
    "senses": {"both": 0.75, "weights": 0.5},
    "command": "peace train --epochs 9",
}


LISTED = Listing(
    "", "r", "b", "trained", "cnn", None, None, "", False, None, "chain", 9, declared_split="train"
)


def test_a_card_has_what_was_found() -> None:
    card = model_card("abc", TRAINING)
    for words in (
        "# PEACE encoder abc",
        "1,234 networks of 5 tasks: cnn (1,000), mlp (234)",
        "7 epochs",
        "| all that is known of it | 0.750 |",
        "| its weights alone | 0.500 |",
        "    peace train --epochs 9",
    ):
        assert words in card
    assert "its answers alone" not in card, "no network was run"
    assert "license" not in card, "it is whoever's trained it"
    assert "there was none" in model_card("abc", TRAINING | {"senses": {}})


def test_the_card_of_the_shipped_encoder_says_of_which_data_it_is() -> None:
    zoo = [
        replace(LISTED, model_id=f"trained:pretraining/{number}", task=f"image · strokes-{number // 2}-5")
        for number in range(3)
    ]
    card = model_card("abc", TRAINING, zoo)
    assert card.startswith("---\nlibrary_name: peace-pipeline\nlicense: apache-2.0\n")
    assert "# PEACE encoder abc" in card
    assert "| train | 3 | 2 | random strokes |" in card
    assert "| validation | 0 | 0 | – |" in card


def test_the_command_trains_by_the_same_settings() -> None:
    settings = Settings(epochs=3, seed=4, loss="triplet", learning_rate=3e-4)
    pairs = PairSettings(seed=4, noise=0.1, without=["vit", "lstm"])
    found = []
    app = typer.Typer()

    @app.command()
    @settings_of(Settings, PairSettings)
    def train(**given: object) -> None:
        found.append((read_settings(Settings, given), read_settings(PairSettings, given)))

    program, command, *options = shlex.split(training_command(settings, pairs))
    assert (program, command) == ("peace", "train")
    result = CliRunner().invoke(app, options)
    assert found == [(settings, pairs)], result.output
