"""The gateway's app with one function more, which does nothing: what stands beside the others in one process."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import azure.functions as func

EMPTY = "bench_empty"


def _gateway_app() -> ModuleType:
    """The project's `function_app`, under a name that this one leaves free."""
    spec = spec_from_file_location("gateway_app", Path(__file__).parents[2] / "function_app.py")
    if spec is None or spec.loader is None:
        raise ImportError("the gateway's function_app.py is not where it should be")
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


app: func.FunctionApp = _gateway_app().app


@app.function_name(EMPTY)
@app.route("bench/empty")
async def empty(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001  # the host passes it by name
    """Nothing."""
    return func.HttpResponse(b"")
