"""vsumdata in Python: what the commands do, as functions. `import vsumdata` loads none of it until it is used.

import vsumdata

vsumdata.run("sample", root="work/sample")
table = vsumdata.bench("synthetic", methods=["mlp"]).to_pandas()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsumdata.pipeline.api import bench, evaluate, fit, open_shards, report, run, status, summarize

__all__ = ["bench", "evaluate", "fit", "open_shards", "report", "run", "status", "summarize"]


def __getattr__(name: str) -> Any:
    # `fit`, not `train`: that is a package, and takes its name here as soon as it is imported.
    # torch and Ray take seconds to load, and a Ray worker imports this file for each of its modules.
    if name in __all__:
        from vsumdata.pipeline import api

        return getattr(api, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("vsumdata")
    raise AttributeError(f"module 'vsumdata' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
