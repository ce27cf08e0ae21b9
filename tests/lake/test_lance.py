"""LanceDB is used without what no lake needs of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HOW = {
    "a table is made and read": "print(database.open_table('kept').count_rows())",
    "a catalog's client is asked for": "import lance_namespace_urllib3_client as c; print(c.ApiClient.__name__)",
    "its classes are asked for": "from lance_namespace import ListTablesRequest as L; print(L(limit=1).limit)",
    "it lacks something": "import lance_namespace_urllib3_client as c; print(hasattr(c, 'nonsense'))",
}
SAID = {
    "a table is made and read": "1 False",
    "a catalog's client is asked for": "ApiClient True",
    "its classes are asked for": "1 False",
    "it lacks something": "False True",
}


@pytest.mark.parametrize("what", HOW)
def test_the_client_of_remote_catalogs_is_imported_when_it_is_asked_for(tmp_path: Path, what: str) -> None:
    script = f"""
import sys
from pathlib import Path
import pyarrow as pa
from peace_pipeline.lake.lance import connect
database = connect(Path({str(tmp_path)!r}))
database.create_table('kept', pa.table({{'number': [1]}}))
{HOW[what]}
print('lance_namespace_urllib3_client.api' in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == SAID[what].split()
