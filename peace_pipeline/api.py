"""PEACE from Python: what `peace embed`, `compare` and `search` do, for networks in memory too.

Importing it loads neither torch nor Dagster; embedding does, and so does a search that has to embed its query.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, get_args

from peace_pipeline.index.exploring import TRIES
from peace_pipeline.index.lookup import find
from peace_pipeline.index.search import By, Hit, open_vectors
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.fetching import Fetcher

if TYPE_CHECKING:
    from lancedb.table import Table
    from torch import Tensor, nn

    from peace_pipeline.encoder.embed import Embedding
    from peace_pipeline.stages.recommend import Recommendation
    from peace_pipeline.stages.relatives import Relatives

Network: TypeAlias = Union[str, Path, Mapping[str, "Tensor"], "nn.Module"]
"""A path (a weight file, a folder in Hub layout), ``hf://org/name@revision`` or a model id of the lake; a state dict;
or a module."""
Responses: TypeAlias = Literal["never", "auto", "always"]


class Index:
    """The networks of a lake, to be searched::

        index = Index.open(".peace")
        index.search("org/name", k=5)
        index.search(module, where="license = 'mit'")
        index.search(text="digits cnn")

    ``table`` is LanceDB's own, a row a network.
    """

    def __init__(self, lake: Lake, table: Table) -> None:
        self.lake, self.table = lake, table

    @classmethod
    def open(cls, home: str | Path | None = None) -> Index:
        """The index of the lake at ``home``, else at ``$PEACE_HOME``, else at ``.peace``.

        Raises:
            NoIndex: where it has none.
        """
        lake = Lake.at(home)
        return cls(lake, open_vectors(lake)[0])

    def __len__(self) -> int:
        return self.table.count_rows()

    def search(
        self,
        query: Network | None = None,
        *,
        k: int = 10,
        where: str | None = None,
        text: str | None = None,
        by: By = "both",
        responses: Responses = "auto",
        config: Mapping[str, Any] | None = None,
    ) -> list[Hit]:
        """The ``k`` networks nearest to ``query`` and ``text`` (words in ids, tags, cards), for which ``where``, SQL
        over the columns of ``table``, holds. They are compared ``by`` all that is known of them, or one sense alone;
        ``responses`` says whether a query that isn't in the index is run, ``config`` is as for :func:`embed`.

        Raises:
            UnknownQuery: where ``query`` is neither in the index nor a network that can be embedded.
            NoResponses: where it has no answers and is compared by them.
            BadFilter: where ``where`` can't be run.
            ValueError: where neither ``query`` nor ``text`` is given, a ``config`` for a file, another ``by``, or ``k``
                is less than 1.
        """
        if by not in get_args(By):
            raise ValueError(f"by={by!r}: networks are compared by {', '.join(get_args(By))}")
        if query is None:
            return find(self.lake, None, k=k, where=where, text=text)
        _check(config, query)
        with _named(query, config) as name:
            fetcher = Fetcher.of(self.lake)
            return find(self.lake, name, fetcher, by=by, k=k, where=where, text=text, responses=responses)

    def relatives(
        self, network: Network, *, k: int = 20, config: Mapping[str, Any] | None = None
    ) -> Relatives:
        """Verdicts on a network beside the ``k`` of the index that are nearest to it by weights, and the ``5 k``
        nearest with as many parameters: ``found``, the closest relation first. ``config`` is as for :func:`embed`.

        Raises:
            UnreadableCheckpoint: where it can't be read, or only in part.
            UnknownQuery: where it can't be embedded.
            ValueError: where a ``config`` is given for a file, or ``k`` is less than 1.
        """
        from peace_pipeline.stages.relatives import relatives

        _check(config, network)
        with _named(network, config) as name:
            return relatives(self.lake, name, Fetcher.of(self.lake), k=k)

    def recommend(
        self,
        inputs: Any,
        labels: Any = None,
        *,
        k: int = 10,
        tries: int = TRIES,
        where: str | None = None,
        text: str | None = None,
        responses: Responses = "auto",
    ) -> Recommendation:
        """The ``k`` networks most worth fine-tuning on labelled examples: ``inputs`` (examples, …), an array or tensor
        of numbers or ids as networks read them, or so many texts, with their ``labels`` (examples,); or, without
        labels, the path of a file or folder as ``peace recommend`` takes it. ``tries`` of the networks
        that can be run, and for which ``where`` holds, are run on them: first those that have the words ``text``; as
        ``responses`` allow.

        Raises:
            BadExamples: where the examples can't be used.
            NothingWasRun: where no network of the index was run, or ``responses`` are ``never``.
            BadFilter: where ``where`` can't be run.
            ValueError: where ``k`` or ``tries`` is less than 1.
        """
        from peace_pipeline.responses.example_files import read_examples
        from peace_pipeline.responses.examples import Examples
        from peace_pipeline.stages.recommend import recommend

        fetcher = Fetcher.of(self.lake)
        is_path = labels is None and isinstance(inputs, str | Path)
        given = read_examples(Path(inputs).expanduser()) if is_path else Examples.of(inputs, labels)
        return recommend(
            self.lake, given, fetcher, k=k, tries=tries, where=where, text=text, responses=responses
        )


def embed(
    network: Network,
    *,
    config: Mapping[str, Any] | None = None,
    home: str | Path | None = None,
    responses: Responses = "auto",
) -> Embedding:
    """The vectors of a network, by the encoder of the lake at ``home``, else by the one that PEACE ships.

    ``network`` (dimension,) of what it returns is comparable by cosine with others of the same encoder. Of a state dict
    or module ``config`` says what a config.json would, such as ``{"hidden_act": "relu"}``: without it less is known.

    Raises:
        UnusableModel: where it can't be read or embedded, with the reason.
        NoEncoder: where there is none.
        ValueError: where a ``config`` is given for a file.
    """
    from peace_pipeline.encoder.checkpoints import embed_checkpoints
    from peace_pipeline.weights.unusable import UnusableModel

    _check(config, network)
    lake = Lake.at(home)
    with _named(network, config) as name:
        found = list(embed_checkpoints(lake, [name], Fetcher.of(lake), responses=responses))
    if len(found) > 1:
        names = ", ".join(one.path for one in found)
        raise UnusableModel(f"{name} has {len(found)} networks, name one: {names}")
    if found[0].embedding is None:
        raise UnusableModel(found[0].error or "it can't be embedded")
    return found[0].embedding


def compare(
    a: Network, b: Network, *, config: Mapping[str, Any] | None = None, home: str | Path | None = None
) -> dict[str, Any]:
    """What two networks have to do with each other, as ``peace compare --json`` says it: the ``verdict`` is
    ``identical``, ``equivalent`` (up to symmetry), ``derived`` or ``unrelated``, and there is a ``reason``.

    ``config`` is as for :func:`embed`, of whichever is a state dict or module.

    Raises:
        UnreadableCheckpoint: where one can't be read, or only in part.
        UnusableModel: where one in memory is none.
    """
    from peace_pipeline.comparison.verdict import compare as compared

    _check(config, a, b)
    lake = Lake.at(home)
    with _named(a, config) as first, _named(b, config) as second:
        return compared(lake, first, second, Fetcher.of(lake))


def _check(config: Mapping[str, Any] | None, *networks: Network) -> None:
    """Refuse a config that no network would have."""
    if config is not None and all(isinstance(network, str | Path) for network in networks):
        raise ValueError("config is of networks in memory: of a file the config.json beside it says the same")


@contextmanager
def _named(network: Network, config: Mapping[str, Any] | None = None) -> Iterator[str]:
    """The name of a network, under which it can be opened within the block."""
    if isinstance(network, str | Path):
        yield str(network)
        return
    from peace_pipeline.weights.errors import UnreadableCheckpoint

    with TemporaryDirectory(prefix="peace-") as folder:
        _write(network, Path(folder), config)
        try:
            yield folder
        except UnreadableCheckpoint as error:
            raise UnreadableCheckpoint(str(error).replace(folder, "the network in memory")) from error


def _write(network: Any, folder: Path, config: Mapping[str, Any] | None) -> None:
    """A network in memory as a folder in Hub layout."""
    from safetensors.torch import save_file

    from peace_pipeline.weights.unusable import UnusableModel

    try:
        if hasattr(network, "save_pretrained"):
            network.save_pretrained(folder)
        else:
            save_file(_tensors(network), folder / "model.safetensors")
    except (KeyError, ValueError, RuntimeError) as error:  # on no device, of a type without a name
        raise UnusableModel(f"the network in memory can't be stored: {error}") from error
    if config is not None:
        described = folder / "config.json"
        own = json.loads(described.read_text()) if described.exists() else {}
        described.write_text(json.dumps(own | dict(config)))


def _tensors(network: Any) -> dict[str, Tensor]:
    """What is a tensor in a state dict, or in that of a module."""
    from torch import Tensor

    from peace_pipeline.weights.unusable import UnusableModel

    state = network.state_dict() if hasattr(network, "state_dict") else network
    values = state.items() if isinstance(state, Mapping) else ()
    found = {
        name: value.detach().cpu().contiguous().clone() for name, value in values if isinstance(value, Tensor)
    }
    if not found:
        raise UnusableModel(f"no state dict or module with tensors: {type(network).__name__}")
    return found
