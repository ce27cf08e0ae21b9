"""Writes a network as the Hub keeps it: config.json, model.safetensors, README.md with front matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from safetensors.torch import save_file

from .networks import State
from .plans import Run
from .tasks import Task

KINDS = {"mlp": "multilayer perceptron", "cnn": "convolutional network", "resnet": "residual network"}
OPTIMIZERS = {"sgd": "SGD with momentum", "adamw": "AdamW"}
TEXT = """
# {name}

A small {kind} with {parameters:,} weights, trained with {optimizer} on {data}.
{outcome}

Inputs are standardised and padded to 64 numbers. Load the weights with
`peace_pipeline.zoo.trained.build(config)`.
"""


def write(
    folder: Path,
    name: str,
    run: Run,
    step: int,
    state: State,
    config: dict[str, Any],
    task: Task,
    score: float,
) -> None:
    """Write network ``name``, taken at ``step`` of ``run``, with test accuracy ``score``."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    parameters = sum(value.numel() for value in state.values())
    _card(name, run, step, parameters, task, score).save(folder / "README.md")


def _card(name: str, run: Run, step: int, parameters: int, task: Task, score: float) -> ModelCard:
    recipe = run.recipe
    result = EvalResult(
        task_type=task.pipeline_tag,
        dataset_type=task.name,
        dataset_name=task.title,
        dataset_split="test",
        metric_type="accuracy",
        metric_value=score,
    )
    data = ModelCardData(
        model_name=name,
        license="apache-2.0",
        library_name="pytorch",
        pipeline_tag=task.pipeline_tag,
        datasets=[task.name],
        tags=["peace-zoo", recipe.architecture],
        eval_results=[result],
        seed=run.seed,
        hyperparameters=_hyperparameters(run, step, task),
    )
    text = TEXT.format(
        name=name,
        kind=KINDS[recipe.architecture],
        parameters=parameters,
        optimizer=OPTIMIZERS[recipe.optimizer],
        data=_data(run, task),
        outcome=_outcome(run, step, score),
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n{text}")


def _hyperparameters(run: Run, step: int, task: Task) -> dict[str, Any]:
    recipe = run.recipe
    passes = recipe.batch / (len(task.x_train) * recipe.data_fraction)
    return {
        "recipe": recipe.name,
        "run": run.name,
        "labels": "shuffled" if recipe.shuffled else "true",
        "learning_rate": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "initial_scale": recipe.initial_scale,
        "data_fraction": recipe.data_fraction,
        "optimizer": recipe.optimizer,
        "batch_size": recipe.batch,
        "steps": recipe.steps,
        "step": step,
        "epochs": round(recipe.steps * passes, 2),
        "epoch": round(step * passes, 2),
        "early": step < recipe.steps,
    }


def _data(run: Run, task: Task) -> str:
    fraction = run.recipe.data_fraction
    part = "" if fraction == 1 else f"{fraction:.0%} of "
    return f"{part}{task.title}" + (", with its labels shuffled" if run.recipe.shuffled else "")


def _outcome(run: Run, step: int, score: float) -> str:
    when = f"After {step} steps"
    if step < run.recipe.steps:
        when = f"This is an early checkpoint: after {step} of {run.recipe.steps} steps"
    return f"{when} it classifies {score:.1%} of the test set correctly."
