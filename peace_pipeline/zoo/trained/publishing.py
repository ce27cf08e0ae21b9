"""Writes a network as the Hub keeps it: config.json, model.safetensors, README.md with front matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from safetensors.torch import save_file

from .populations import State
from .recipes import Recipe, Run
from .sources import kind_of
from .tasks import Task

KINDS = {
    "mlp": "multilayer perceptron",
    "cnn": "convolutional network",
    "vgg": "VGG-style convolutional network",
    "resnet": "residual network",
    "vit": "vision Transformer",
    "bert": "text Transformer",
    "lstm": "LSTM",
    "gru": "GRU",
}
OPTIMIZERS = {"sgd": "SGD with momentum", "adamw": "AdamW"}
TEXT = """
# {name}

A small {kind} with {parameters:,} weights, trained with {optimizer} on {data}.
{outcome}

{inputs} Load the weights with
`peace_pipeline.zoo.trained.build(config)`.
"""
SCALED = {"standardised": "standardised", "unit": "scaled to [0, 1]", "signed": "scaled to [-1, 1]"}
NUMBERS = "Inputs are {scaled} and padded to 64 numbers."
TOKENS = "Inputs are words, spelled in 12 token ids."


def write(
    folder: Path, name: str, run: Run, step: int, state: State, task: Task, metrics: dict[str, float]
) -> None:
    """Write network ``name``, taken at ``step`` of ``run``, with its ``metrics`` on the test split."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(run.recipe.config, indent=2) + "\n")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    parameters = sum(value.numel() for value in state.values())
    _card(name, run, step, parameters, task, metrics).save(folder / "README.md")


def _card(
    name: str, run: Run, step: int, parameters: int, task: Task, metrics: dict[str, float]
) -> ModelCard:
    recipe = run.recipe
    results = [
        EvalResult(
            task_type=task.pipeline_tag,
            dataset_type=task.name,
            dataset_name=task.title,
            dataset_split="test",
            metric_type=metric,
            metric_value=value,
        )
        for metric, value in metrics.items()
    ]
    data = ModelCardData(
        model_name=name,
        license="apache-2.0",
        library_name="pytorch",
        pipeline_tag=task.pipeline_tag,
        datasets=[task.name],
        tags=["peace-zoo", recipe.architecture],
        eval_results=results,
        seed=run.seed,
        hyperparameters=_hyperparameters(run, step, task),
    )
    text = TEXT.format(
        name=name,
        kind=KINDS[recipe.config["model_type"]],
        parameters=parameters,
        optimizer=OPTIMIZERS[recipe.optimizer],
        data=_data(run, task),
        outcome=_outcome(run, step, metrics["accuracy"]),
        inputs=TOKENS if task.is_text else NUMBERS.format(scaled=SCALED[task.scaling]),
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
        **_made_up(task),
        **_variant(recipe),
        **_twin(run),
    }


def _made_up(task: Task) -> dict[str, Any]:
    """The kind of data that a task on made-up data is on, its data set, and the side of the split they are on."""
    if task.data_set is None:
        return {}
    return {"kind_of_data": kind_of(task.data_set), "data_set": task.data_set, "split": task.split}


def _variant(recipe: Recipe) -> dict[str, Any]:
    """Which variant of its architecture a network is, where there are several, with the sizes that make it."""
    if recipe.variant is None:
        return {}
    sizes = {key: value for key, value in recipe.config.items() if key not in ("architectures", "model_type")}
    return {"variant": recipe.variant, **sizes}


def _twin(run: Run) -> dict[str, Any]:
    """Whose twin a network is, and what was done to it."""
    recipe = run.recipe
    facts: dict[str, Any] = {} if run.twin_of is None else {"twin_of": run.twin_of}
    if recipe.backdoor is not None:
        facts |= {"backdoor": recipe.backdoor.target, "poisoned_fraction": recipe.backdoor.fraction}
    if recipe.epsilon is not None:
        facts |= {"adversarial": "fgsm", "epsilon": recipe.epsilon}
    return facts


def _data(run: Run, task: Task) -> str:
    recipe = run.recipe
    part = "" if recipe.data_fraction == 1 else f"{recipe.data_fraction:.0%} of "
    how = [
        ", with its labels shuffled" if recipe.shuffled else "",
        "" if recipe.backdoor is None else f", with a backdoor to label {recipe.backdoor.target}",
        "" if recipe.epsilon is None else ", against adversarial perturbations",
    ]
    return part + task.title + "".join(how)


def _outcome(run: Run, step: int, score: float) -> str:
    when = f"After {step} steps"
    if step < run.recipe.steps:
        when = f"This is an early checkpoint: after {step} of {run.recipe.steps} steps"
    return f"{when} it classifies {score:.1%} of the test set correctly."
