"""A stand-in Hub to ask, and the library's own client to ask it by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, set_client_factory
from huggingface_hub.utils import _http as client_http

from tests.standin_hub import StandinHub


@pytest.fixture(autouse=True)
def plain_client() -> Iterator[None]:
    """The client as it comes: elsewhere in this process PEACE may have installed its polite one."""
    installed = client_http._GLOBAL_CLIENT_FACTORY
    set_client_factory(client_http.default_client_factory)
    yield
    set_client_factory(installed)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[StandinHub]:
    with StandinHub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def api(hub: StandinHub) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=False)
