"""The smallest app there is: one function that does nothing."""

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route("empty")
async def empty(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001  # the host passes it by name
    """Nothing."""
    return func.HttpResponse(b"")
