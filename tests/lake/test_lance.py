"""LanceDB is used without what no lake needs of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WAYS = {
    "a table is made and read": ("print(database.open_table('kept').count_rows())", "1 False"),
    "its classes are asked for": (
        "from lance_namespace import ListTablesRequest as L; print(L(limit=1).limit)",
        "1 False",
    ),
    "a client is asked for": (
        "import lance_namespace_urllib3_client as c; print(c.ApiClient.__name__)",
        "ApiClient True",
    ),
    "all of it is asked for": (
        "from lance_namespace_urllib3_client import *; print(ApiClient.__name__)",
        "ApiClient True",
    ),
    "threads ask at once": (
        "from concurrent.futures import ThreadPoolExecutor as Pool; import lance_namespace_urllib3_client as c; "
        "print(len(set(Pool(8).map(lambda _: c.ApiClient, range(8)))))",
        "1 True",
    ),
    "what it lacks is asked for": (
        "import lance_namespace_urllib3_client as c; print(hasattr(c, 'nonsense'))",
        "False True",
    ),
}


@pytest.mark.parametrize(("code", "said"), WAYS.values(), ids=WAYS)
def test_the_client_of_remote_catalogs_is_imported_when_it_is_asked_for(
    tmp_path: Path, code: str, said: str
) -> None:
    script = f"""
import sys
from pathlib import Path
import pyarrow as pa
from peace_pipeline.lake.lance import connect
database = connect(Path({str(tmp_path)!r}))
database.create_table('kept', pa.table({{'number': [1]}}))
{code}
print('lance_namespace_urllib3_client.api' in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == said.split()
