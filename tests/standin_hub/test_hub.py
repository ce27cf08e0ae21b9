"""The stand-in Hub answers as the Hub does, for the library's own client."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest
import torch
from huggingface_hub import HfApi, HfFileSystem, file_download, get_session
from huggingface_hub.errors import (
    BadRequestError,
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import _http as client_http
from huggingface_hub.utils import parse_ratelimit_headers
from safetensors.torch import load_file, save

from tests.standin_hub import Fault, Faults, StandinHub
from tests.standin_hub.serving import CONFIG, FILES, STATE, WEIGHTS, download


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client's pauses, which are listed rather than slept."""
    waits: list[float] = []
    clock = SimpleNamespace(**vars(time) | {"sleep": waits.append})
    for module in (client_http, file_download):
        monkeypatch.setattr(module, "time", clock)
    return waits


def numbered(hub: StandinHub, count: int) -> list[str]:
    """Repositories without files, oldest first."""
    for number in range(count):
        hub.push(f"org/m{number}", {}, likes=number)
    return [f"org/m{number}" for number in range(count)]


def test_pages_follow_the_order_and_links(hub: StandinHub, api: HfApi) -> None:
    ids = numbered(hub, 5)
    hub.touch("org/m1")
    found = [model.id for model in api.list_models(sort="last_modified")]
    assert found == ["org/m1", "org/m4", "org/m3", "org/m2", "org/m0"]
    assert [model.id for model in api.list_models(sort="likes", limit=3)] == ids[:1:-1]
    first = get_session().get(f"{hub.endpoint}/api/models?sort=likes&limit=2&expand=likes")
    second = get_session().get(first.links["next"]["url"])
    third = get_session().get(second.links["next"]["url"])
    pages = [[model["likes"] for model in page.json()] for page in (first, second, third)]
    assert pages == [[4, 3], [2, 1], [0]]
    assert "next" not in third.links


def test_pages_hold_at_most_a_thousand(hub: StandinHub, api: HfApi) -> None:
    numbered(hub, 1001)
    assert len({model.id for model in api.list_models(limit=2000)}) == 1001
    assert hub.count("GET") == 2


def test_repos_that_move_between_pages_are_missed_or_come_twice(hub: StandinHub) -> None:
    numbered(hub, 4)
    first = get_session().get(f"{hub.endpoint}/api/models?sort=lastModified&limit=2")
    hub.touch("org/m0")
    hub.touch("org/m3", at=datetime(2020, 1, 1, tzinfo=UTC))
    second = get_session().get(first.links["next"]["url"])
    assert [model["id"] for model in first.json() + second.json()] == ["org/m3", "org/m2", "org/m1", "org/m3"]


def test_filters(hub: StandinHub, api: HfApi) -> None:
    hub.push("org/a", FILES)
    hub.push(
        "other/Big", {}, safetensors={"parameters": {"F32": 7 * 10**9}, "total": 7 * 10**9}, gated="auto"
    )
    chosen: dict[str, list[dict[str, Any]]] = {
        "org/a": [
            {"filter": ["mlp", "tiny"]},
            {"filter": "peace"},
            {"trained_dataset": "mnist1d"},
            {"author": "org"},
            {"pipeline_tag": "image-classification"},
            {"gated": False},
            {"num_parameters": "max:100M"},
        ],
        "other/Big": [{"search": "big"}, {"gated": True}, {"num_parameters": "min:6B,max:7.5B"}],
    }
    for expected, queries in chosen.items():
        for query in queries:
            assert [model.id for model in api.list_models(**query)] == [expected], query
    with pytest.raises(BadRequestError, match="num_parameters"):
        list(api.list_models(num_parameters="few"))


def test_expand_gives_these_fields_alone(hub: StandinHub, api: HfApi) -> None:
    sha = hub.push("org/a", FILES, at=datetime(2026, 5, 1, tzinfo=UTC))
    hub.push("org/broken", {"README.md": b"---\na: [\n---\n", "config.json": b"{"})
    fields = [
        "sha",
        "lastModified",
        "siblings",
        "safetensors",
        "cardData",
        "config",
        "model-index",
        "baseModels",
    ]
    broken, model = api.list_models(expand=fields, sort="last_modified")  # type: ignore[arg-type]
    assert (model.sha, model.last_modified) == (sha, datetime(2026, 5, 1, tzinfo=UTC))
    assert model.safetensors is not None
    assert model.safetensors.parameters == {"F32": 6, "F16": 4}
    assert model.safetensors.total == 10
    assert model.siblings is not None
    assert {file.rfilename for file in model.siblings} == set(FILES)
    assert all(file.size is None for file in model.siblings)
    assert model.config == {"architectures": ["Mlp"], "model_type": "mlp"}
    assert model.card_data is not None
    assert model.card_data.license == "mit"
    assert model.model_index == [{"name": "a", "results": []}]
    assert model.base_models == {"relation": "finetune", "models": [{"_id": ANY, "id": "org/base"}]}
    assert model.tags is None
    assert (broken.card_data, broken.config, broken.safetensors) == (None, None, None)


def test_model_info_gives_sizes_and_hashes(hub: StandinHub, api: HfApi) -> None:
    old = hub.push("org/a", {"config.json": b"{}"})
    hub.push("org/a", FILES)
    info = api.model_info("org/a", files_metadata=True, securityStatus=True)
    files = {file.rfilename: file for file in info.siblings or ()}
    assert files["config.json"].size == len(CONFIG)
    assert files["config.json"].lfs is None
    weights = files["model.safetensors"]
    assert weights.lfs is not None
    assert weights.lfs.size == weights.size == len(WEIGHTS)
    assert weights.lfs.pointer_size == 125 + len(str(len(WEIGHTS)))
    assert info.tags is not None
    assert {"safetensors", "mlp", "license:mit", "base_model:finetune:org/base"} <= set(info.tags)
    assert info.security_repo_status == {"scansDone": True, "filesWithIssues": []}
    assert api.model_info("org/a", revision=old).sha == old
    assert api.model_info("org/a", expand=["sha"]).siblings is None


def test_trees_paths_and_refs(hub: StandinHub, api: HfApi) -> None:
    sha = hub.push("org/a", FILES)
    assert {entry.path for entry in api.list_repo_tree("org/a")} == {*FILES, "logs"} - {"logs/run.txt"}
    assert {entry.path for entry in api.list_repo_tree("org/a", recursive=True)} == {*FILES, "logs"}
    assert [entry.path for entry in api.list_repo_tree("org/a", "logs", expand=True)] == ["logs/run.txt"]
    found = api.get_paths_info("org/a", ["model.safetensors", "logs", "missing"], expand=True)
    assert [entry.path for entry in found] == ["logs", "model.safetensors"]
    assert api.list_repo_refs("org/a").branches[0].target_commit == sha


def test_long_trees_come_in_pages(hub: StandinHub, api: HfApi) -> None:
    hub.push("org/a", {f"{number:04}.txt": b"" for number in range(1001)})
    assert len(list(api.list_repo_tree("org/a"))) == 1001
    assert hub.count() == 2


def test_downloads_of_a_revision_and_of_main(hub: StandinHub, api: HfApi, tmp_path: Path) -> None:
    sha = hub.push("org/a", FILES)
    path = download(api, tmp_path, revision=sha)
    assert load_file(path)["0.weight"].equal(STATE["0.weight"])
    assert [seen.method for seen in hub.requests] == ["HEAD", "GET"]
    hub.forget()
    assert download(api, tmp_path, revision=sha) == path
    assert hub.count() == 0
    assert download(api, tmp_path) == path
    assert [seen.method for seen in hub.requests] == ["HEAD"]
    newer = hub.push("org/a", {"model.safetensors": save({"0.weight": torch.zeros(3)})})
    assert download(api, tmp_path).parent.name == newer
    assert load_file(download(api, tmp_path / "again", revision=sha)).keys() == STATE.keys()


def test_wrong_bytes_are_cached_under_the_right_hash(hub: StandinHub, api: HfApi, tmp_path: Path) -> None:
    sha = hub.push("org/a", FILES)
    hub.script("model.safetensors", [Fault("slow"), Fault("wrong_bytes")])
    path = download(api, tmp_path, revision=sha)
    assert path.read_bytes() != WEIGHTS
    assert path.resolve().name == hub.repos["org/a"].head.files["model.safetensors"].sha256
    assert download(api, tmp_path, revision=sha).read_bytes() != WEIGHTS


def test_requests_for_the_config_count_as_downloads(hub: StandinHub, api: HfApi, tmp_path: Path) -> None:
    hub.push("org/a", FILES, downloads=5)
    download(api, tmp_path, "config.json")
    assert api.model_info("org/a").downloads == 7


def test_headers_and_single_tensors_without_the_rest(hub: StandinHub, api: HfApi) -> None:
    shards = {
        f"model-{number}-of-2.safetensors": save({name: STATE[name]}) for number, name in enumerate(STATE)
    }
    index = {"metadata": {"total_size": 32}, "weight_map": dict(zip(STATE, shards, strict=True))}
    hub.push("org/a", FILES)
    hub.push("org/sharded", shards | {"model.safetensors.index.json": json.dumps(index).encode()})
    assert api.get_safetensors_metadata("org/a").parameter_count == {"F32": 6, "F16": 4}
    assert api.get_safetensors_metadata("org/sharded").weight_map == index["weight_map"]
    assert api.get_sharded_safetensors_metadata("org/sharded").weight_map == index["weight_map"]
    files = HfFileSystem(endpoint=hub.endpoint, token=False, skip_instance_cache=True)
    with files.open("org/sharded/model-0-of-2.safetensors", block_size=64) as file:
        file.seek(-24, 2)
        assert torch.frombuffer(bytearray(file.read()), dtype=torch.float32).equal(torch.arange(6.0))


@pytest.mark.parametrize(
    ("span", "status", "content"),
    [
        ("bytes=0-7", 206, WEIGHTS[:8]),
        ("bytes=8-", 206, WEIGHTS[8:]),
        ("bytes=-4", 206, WEIGHTS[-4:]),
        ("bytes=0-100000", 206, WEIGHTS),
        ("bytes=100000-", 416, None),
    ],
)
def test_ranges(hub: StandinHub, span: str, status: int, content: bytes | None) -> None:
    hub.push("org/a", FILES)
    url = f"{hub.endpoint}/org/a/resolve/main/model.safetensors"
    response = get_session().get(url, headers={"Range": span})
    assert response.status_code == status
    assert content is None or response.content == content


def test_what_cannot_be_had_raises_the_clients_own_errors(
    hub: StandinHub, api: HfApi, tmp_path: Path
) -> None:
    hub.push("org/a", FILES)
    with pytest.raises(RemoteEntryNotFoundError):
        download(api, tmp_path, "missing.bin")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/a", revision="0" * 40)
    hub.set("org/a", gated="manual")
    assert api.model_info("org/a").gated == "manual"
    with pytest.raises(GatedRepoError):
        download(api, tmp_path)
    hub.set("org/a", gated=False, disabled=True)
    with pytest.raises(DisabledRepoError):
        api.model_info("org/a")
    assert [model.disabled for model in api.list_models(full=True)] == [True]
    hub.set("org/a", disabled=False, private=True)
    assert not list(api.list_models())
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/a")
    hub.delete("org/a")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/a", token="hf_owner")


def test_tokens_open_gated_and_private_repos(hub: StandinHub, tmp_path: Path) -> None:
    hub.push("org/a", FILES, private=True, gated="auto")
    hub.tokens = {"hf_owner": {"org/a"}, "hf_other": set()}
    owner, other = (HfApi(endpoint=hub.endpoint, token=token) for token in hub.tokens)
    assert download(owner, tmp_path).read_bytes() == WEIGHTS
    assert [model.private for model in owner.list_models()] == [True]
    assert not list(other.list_models())
    hub.set("org/a", private=False)
    with pytest.raises(GatedRepoError, match="403"):
        download(other, tmp_path / "other")


def test_faults_strike_in_turn(hub: StandinHub, api: HfApi, tmp_path: Path, no_waiting: list[float]) -> None:
    hub.push("org/a", FILES)
    hub.script("/api/models", [Fault("429", 3), Fault("504"), Fault("cut", sent=0), Fault("cut")])
    assert [model.id for model in api.list_models()] == ["org/a"]
    assert [seen.status for seen in hub.requests] == [429, 504, 0, 200, 200]
    assert no_waiting == [4, 2, 4, 8]
    hub.script("/api/models/org/a", [Fault("429", 3)])
    with pytest.raises(HfHubHTTPError) as raised:
        api.model_info("org/a")
    limits = parse_ratelimit_headers(raised.value.response.headers)
    assert limits is not None
    assert (limits.remaining, limits.reset_in_seconds) == (0, 3)
    hub.forget()
    hub.script("model.safetensors", [Fault("slow", 0), Fault("cut")])
    assert download(api, tmp_path).read_bytes() == WEIGHTS
    assert [seen.status for seen in hub.requests] == [200, 200, 200]


def test_faults_in_the_middle_of_paging(hub: StandinHub, api: HfApi) -> None:
    ids = numbered(hub, 3)
    hub.script("cursor=", [Fault("504")])
    first = get_session().get(f"{hub.endpoint}/api/models?limit=2&sort=likes")
    following = first.links["next"]["url"]
    assert [get_session().get(following).status_code for _ in range(2)] == [504, 200]
    assert [model["id"] for model in get_session().get(following).json()] == ids[:1]


def test_random_faults_are_the_same_in_every_run() -> None:
    paths = [f"/org/m{number}/resolve/main/config.json" for number in range(300)]
    runs = []
    for order in (paths, paths[::-1]):
        faults = Faults(seed=3, rate=0.2)
        runs.append({path: faults.draw("GET", path) for path in order})
    assert runs[0] == runs[1]
    struck = [fault for fault in runs[0].values() if fault]
    assert 30 < len(struck) < 90
    assert len({fault.kind for fault in struck}) == 5


def test_limit_holds_within_its_window(hub: StandinHub, api: HfApi) -> None:
    hub.push("org/a", FILES)
    hub.limit = (2, 60)
    assert [api.model_info("org/a").id for _ in range(2)] == ["org/a"] * 2
    with pytest.raises(HfHubHTTPError, match="429"):
        api.model_info("org/a")
    hub.limit = None
    assert api.model_info("org/a").id == "org/a"


def test_hook_runs_before_each_request(hub: StandinHub, api: HfApi) -> None:
    hub.push("org/a", FILES)
    hub.on_request = lambda method, path: hub.set("org/a", likes=9)
    assert api.model_info("org/a").likes == 9
