"""The local host, run as a developer runs it: one process that serves a small function app."""

import base64
import json
import queue
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from local.certificates import Certificates
from local.host import load_local_settings

pytestmark = pytest.mark.stack

ROOT = Path(__file__).parents[2]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

APP = """
import asyncio
import json
import logging
import os

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="echo/{item}/{part?}")
async def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    trace = context.trace_context
    seen = {
        "method": req.method,
        "url": req.url,
        "headers": dict(req.headers),
        "query": dict(req.params),
        "params": dict(req.route_params),
        "body": req.get_body().hex(),
        "trace": [trace.trace_parent, trace.trace_state],
    }
    return func.HttpResponse(json.dumps(seen), mimetype="application/json")


@app.route(route="cookies")
async def cookies(req: func.HttpRequest) -> func.HttpResponse:
    response = func.HttpResponse("set")
    response.headers.add("Set-Cookie", "__Host-session=abc; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=60")
    response.headers.add("Set-Cookie", "__Host-flow=x; Path=/; Secure; SameSite=None")
    return response


@app.route(route="same/{name}")
async def first_by_name(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("first")


@app.route(route="same/literal")
async def second_by_name(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("second")


@app.route(methods=["POST"])
async def only_post(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(b"\\x00\\xff", status_code=201, headers={"X-Frame-Options": "SAMEORIGIN"})


@app.route(route="sync")
def sync(req: func.HttpRequest) -> str:
    return "from a thread"


@app.route(route="setting/{name}")
async def setting(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(os.environ.get(req.route_params["name"], "unset"))


@app.route(route="slow")
async def slow(req: func.HttpRequest) -> func.HttpResponse:
    logging.info("slow is under way")
    await asyncio.sleep(0.2)
    return func.HttpResponse("done")


@app.route(route="boom")
async def boom(req: func.HttpRequest) -> func.HttpResponse:
    raise ValueError("broken on purpose")


@app.route(route="unsendable")
async def unsendable(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(headers={"X-Name": "\\u00e9"})


@app.route(route="{*path}")
async def zz_fallback(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(["fallback", dict(req.route_params)]), status_code=404)


@app.timer_trigger(schedule="0 */5 * * * *", arg_name="tick")
async def sweep(tick: func.TimerRequest) -> None:
    logging.info(json.dumps({"swept": True, "late": tick.past_due, "status": tick.schedule_status}))


@app.timer_trigger(schedule="0 */5 * * * *", arg_name="tick")
async def broken_sweep(tick: func.TimerRequest) -> None:
    raise ValueError("the timer broke")


@app.queue_trigger(arg_name="message", queue_name="work", connection="STATE")
async def work(message: func.QueueMessage, context: func.Context) -> None:
    born, end = message.insertion_time, message.expiration_time
    facts = [message.get_body().decode(), message.id, message.dequeue_count, (end - born).total_seconds() // 60]
    logging.info(json.dumps([*facts, message.pop_receipt is not None, context.trace_context.trace_parent[:3]]))


@app.queue_trigger(arg_name="message", queue_name="broken", connection="STATE")
def broken_work(message: func.QueueMessage) -> None:
    raise ValueError("the work broke")


@app.queue_trigger(arg_name="message", queue_name="endless", connection="ALONE")
async def endless_work(message: func.QueueMessage) -> None:
    logging.info("endless work begins")
    await asyncio.Event().wait()


@app.queue_trigger(arg_name="message", queue_name="elsewhere", connection="CLOUD")
async def work_elsewhere(message: func.QueueMessage) -> None:
    logging.info("never run here")
"""
HOST_JSON = {
    "version": "2.0",
    "extensions": {
        "http": {"customHeaders": {"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"}},
        "queues": {"maxPollingInterval": "00:00:00.2", "maxDequeueCount": 2},
    },
}

BARE_APP = """
import logging

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="health", methods=["GET"])
async def health(req: func.HttpRequest) -> func.HttpResponse:
    logging.info("not at this level")
    logging.warning("health was asked")
    return func.HttpResponse(req.url)
"""


@dataclass
class Host:
    """A host that runs, what it announced, and what it logs."""

    process: subprocess.Popen[str]
    announced: list[str]
    log: "queue.SimpleQueue[str]" = field(default_factory=queue.SimpleQueue)

    @property
    def url(self) -> str:
        """The address of the ready line."""
        return self.announced[-1].removeprefix("ready on ")

    def wait_for_log(self, text: str) -> str:
        """Return the next line with this text in it; anything before it is gone."""
        while text not in (line := self.log.get(timeout=60)):
            pass
        return line


@pytest.fixture(scope="module")
def app_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The larger app, with host.json and local settings."""
    directory = tmp_path_factory.mktemp("app")
    (directory / "function_app.py").write_text(APP)
    (directory / "host.json").write_text(json.dumps(HOST_JSON))
    settings = {"IsEncrypted": False, "Values": {"FROM_FILE": "file", "FROM_BOTH": "file"}}
    (directory / "local.settings.json").write_text(json.dumps(settings))
    return directory


@pytest.fixture(scope="module")
def host(app_directory: Path, azurite: Azurite) -> Iterator[Host]:
    """The host of most tests."""
    with _running(app_directory, FROM_BOTH="environment", STATE=azurite.connection_string) as running:
        yield running


@pytest.fixture(scope="module")
def client(host: Host) -> Iterator[httpx.Client]:
    """A client of that host."""
    with httpx.Client(base_url=host.url, trust_env=False, timeout=10) as client:
        yield client


@contextmanager
def _running(directory: Path, *options: str, **environ: str) -> Iterator[Host]:
    command = [sys.executable, "-m", "local.host", "--app", str(directory), "--port", "0", *options]
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        host = Host(process, [])
        reader = threading.Thread(target=_read, args=(process.stderr, host.log))
        reader.start()
        try:
            host.announced += _announced(process.stdout)
            yield host
        finally:
            process.terminate()
            process.wait(10)
            reader.join(10)


def _read(stream: IO[str] | None, lines: "queue.SimpleQueue[str]") -> None:
    for line in stream or ():
        lines.put(line.rstrip("\n"))


def _announced(stream: IO[str] | None) -> Iterator[str]:
    for line in stream or ():
        yield line.rstrip("\n")
        if line.startswith("ready on "):
            return
    pytest.fail("the host ended before it was ready")


def _echo(client: httpx.Client, method: str = "GET", path: str = "/api/echo/a", **options: Any) -> dict[str, Any]:
    response = client.request(method, path, **options)
    assert response.status_code == 200
    seen: dict[str, Any] = response.json()
    return seen


def test_routes_are_announced_in_the_order_they_are_tried(host: Host) -> None:
    """One line for each HTTP route, sorted by function name, and the address in use last."""
    assert host.announced == [
        f"ANY {host.url}/api/boom -> boom",
        f"ANY {host.url}/api/cookies -> cookies",
        f"ANY {host.url}/api/echo/{{item}}/{{part?}} -> echo",
        f"ANY {host.url}/api/same/{{name}} -> first_by_name",
        f"POST {host.url}/api/only_post -> only_post",
        f"ANY {host.url}/api/same/literal -> second_by_name",
        f"ANY {host.url}/api/setting/{{name}} -> setting",
        f"ANY {host.url}/api/slow -> slow",
        f"ANY {host.url}/api/sync -> sync",
        f"ANY {host.url}/api/unsendable -> unsendable",
        f"ANY {host.url}/api/{{*path}} -> zz_fallback",
        f"ready on {host.url}",
    ]


def test_a_function_sees_the_request(host: Host, client: httpx.Client) -> None:
    """Method, absolute URL, decoded route and query parameters, and the body's bytes."""
    seen = _echo(client, "PUT", "/api/echo/a%20b/c?q=x%26y&q=z&empty=", content=b"\x00\xff")
    assert (seen["method"], seen["url"]) == ("PUT", f"{host.url}/api/echo/a%20b/c?q=x%26y&q=z&empty=")
    assert seen["params"] == {"item": "a b", "part": "c"}
    assert seen["query"] == {"q": "x&y,z"}
    assert seen["body"] == "00ff"


def test_a_function_sees_the_host_that_was_asked_for(client: httpx.Client) -> None:
    """The URL has the authority of the Host header, as behind a front end."""
    assert _echo(client, headers={"Host": "gateway.example"})["url"] == "http://gateway.example/api/echo/a"


def test_a_function_sees_one_value_for_each_header(client: httpx.Client) -> None:
    """Names are lower case; repeated headers are joined."""
    headers = [("X-Tag", "one"), ("x-tag", "two"), ("Cookie", "a=1"), ("Cookie", "b=2")]
    seen = _echo(client, headers=headers)["headers"]
    assert (seen["x-tag"], seen["cookie"]) == ("one,two", "a=1; b=2")


def test_a_function_sees_the_address_of_the_client_and_none_that_it_claims(client: httpx.Client) -> None:
    """As Azure's front end sets it."""
    seen = _echo(client, headers={"Client-IP": "203.0.113.1"})["headers"]["client-ip"]
    assert seen.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", ["[", "a b", "a/b", "a:b", "a@b"])
def test_a_host_that_is_none_is_refused(client: httpx.Client, name: str) -> None:
    """As Kestrel refuses it, before any function."""
    assert client.get("/api/echo/a", headers={"Host": name}).status_code == 400


def test_a_chunked_body_is_lost(client: httpx.Client) -> None:
    """Without a `Content-Length` the host passes no body on."""
    assert _echo(client, "POST", content=iter([b"lost"]))["body"] == ""


def test_the_callers_trace_goes_on(client: httpx.Client) -> None:
    """`traceparent` and `tracestate` become the invocation's trace context."""
    headers = {"traceparent": TRACE, "tracestate": "vendor=1"}
    assert _echo(client, headers=headers)["trace"] == [TRACE, "vendor=1"]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="absent"),
        pytest.param({"traceparent": "00-xyz-1-01", "tracestate": "vendor=1"}, id="malformed"),
        pytest.param({"traceparent": f"00-{'0' * 32}-b7ad6b7169203331-01"}, id="zero"),
    ],
)
def test_a_request_without_a_trace_starts_one(client: httpx.Client, headers: dict[str, str]) -> None:
    """The host makes a new W3C trace for each request, and drops the state of a trace it cannot read."""
    first, second = (_echo(client, headers=headers)["trace"] for _ in range(2))
    assert first[0] != second[0]
    assert [len(part) for part in first[0].split("-")] == [2, 32, 16, 2]
    assert first[1] == ""


def test_cookies_keep_their_attributes(client: httpx.Client) -> None:
    """Two cookies arrive as two headers, rendered by the host from what the runtime parsed."""
    assert client.get("/api/cookies").headers.get_list("set-cookie") == [
        "__Host-session=abc; max-age=60; domain=; path=/; secure; samesite=strict; httponly",
        "__Host-flow=x; domain=; path=/; secure; samesite=none",
    ]


def test_routes_are_tried_in_the_order_of_function_names(client: httpx.Client) -> None:
    """A parameter of an earlier function hides the literal of a later one."""
    assert client.get("/api/same/literal").text == "first"


def test_a_method_that_does_not_fit_goes_on_to_the_next_route(client: httpx.Client) -> None:
    """The catch-all that sorts last answers what a function with `methods` refuses."""
    answer = client.get("/api/only_post")
    assert (answer.status_code, answer.json()) == (404, ["fallback", {"path": "only_post"}])


def test_a_function_answers_under_its_name_with_status_and_bytes(client: httpx.Client) -> None:
    """The default route is the function's name; status and body arrive as they are."""
    answer = client.post("/api/only_post")
    assert (answer.status_code, answer.content) == (201, b"\x00\xff")


def test_custom_headers_are_added_where_there_are_none(client: httpx.Client) -> None:
    """A function's own header wins over `customHeaders` of host.json."""
    answer = client.post("/api/only_post")
    assert answer.headers.get_list("x-frame-options") == ["SAMEORIGIN"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_head_request_gets_no_body(client: httpx.Client) -> None:
    """HEAD reaches a function without `methods`, and the answer keeps the length only."""
    answer = client.head("/api/sync")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "13", b"")


def test_a_plain_function_runs_in_a_thread(client: httpx.Client) -> None:
    """A `def` handler works too, and may return a string."""
    assert client.get("/api/sync").text == "from a thread"


def test_a_path_outside_every_route_is_a_bare_404(client: httpx.Client) -> None:
    """The host answers itself: no body, and the custom headers."""
    answer = client.get("/elsewhere")
    assert (answer.status_code, answer.content, answer.headers["x-frame-options"]) == (404, b"", "DENY")


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        pytest.param("/api/boom", "function boom failed: ValueError('broken on purpose')", id="raised"),
        pytest.param("/api/unsendable", "function unsendable returned what cannot be sent", id="unsendable"),
    ],
)
def test_a_function_that_fails_is_a_bare_500(host: Host, client: httpx.Client, path: str, logged: str) -> None:
    """The client learns nothing, the console all of it."""
    answer = client.get(path)
    assert (answer.status_code, answer.content, answer.headers["x-frame-options"]) == (500, b"", "DENY")
    assert host.wait_for_log(logged)


@pytest.mark.parametrize("body", [None, {"input": ""}, {"input": None}], ids=["no-body", "empty-input", "null-input"])
def test_a_timer_runs_by_hand(host: Host, client: httpx.Client, body: dict[str, Any] | None) -> None:
    """The run is accepted at once, gets a timer that is on time, and logs one line as the app wrote it."""
    answer = client.post("/admin/functions/Sweep", json=body)
    assert (answer.status_code, answer.content) == (202, b"")
    assert json.loads(host.wait_for_log("swept")) == {"swept": True, "late": False, "status": {}}


@pytest.mark.parametrize(
    ("name", "logged"),
    [
        pytest.param("broken_sweep", "function broken_sweep failed: ValueError('the timer broke')", id="raised"),
        pytest.param("broken_work", "function broken_work failed: ValueError('the work broke')", id="raised-message"),
        pytest.param("echo", "function echo: httpTrigger cannot be run by hand here", id="http"),
    ],
)
def test_a_run_that_fails_is_logged(host: Host, client: httpx.Client, name: str, logged: str) -> None:
    """The caller is long gone, so the console says what went wrong."""
    assert client.post(f"/admin/functions/{name}").status_code == 202
    assert host.wait_for_log(logged)


@contextmanager
def _queue(azurite: Azurite, name: str) -> Iterator[QueueClient]:
    with QueueClient.from_connection_string(azurite.connection_string, name) as queue:
        with suppress(ResourceExistsError):
            queue.create_queue()
        yield queue


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _wait_until_empty(queue: QueueClient) -> None:
    deadline = time.monotonic() + 20
    while queue.get_queue_properties().approximate_message_count:
        assert time.monotonic() < deadline


def test_a_function_sees_the_message_of_its_queue(host: Host, azurite: Azurite) -> None:
    """Its text, and what the queue knows of it; the run begins a trace of its own."""
    with _queue(azurite, "work") as queue:
        sent = queue.send_message(_encoded("Grüße"), time_to_live=120)
        seen = json.loads(host.wait_for_log("Gr"))
        assert seen == ["Grüße", sent.id, 1, 2, True, "00-"]
        _wait_until_empty(queue)


def test_a_message_whose_function_fails_again_and_again_ends_as_poison(host: Host, azurite: Azurite) -> None:
    """Each failure is told, and the last one moves it; a `def` function fails like another."""
    with _queue(azurite, "broken") as queue, _queue(azurite, "broken-poison") as poison:
        sent = queue.send_message(_encoded("text"))
        for _ in range(2):
            assert host.wait_for_log("function broken_work failed: ValueError('the work broke')")
        assert host.wait_for_log(f"message {sent.id} goes to broken-poison")
        _wait_until_empty(queue)
        assert [message.content for message in poison.peek_messages()] == [_encoded("text")]


def test_a_function_with_a_queue_runs_by_hand(host: Host, client: httpx.Client) -> None:
    """The input is the message's text; it has no id, was never taken and does not end."""
    answer = client.post("/admin/functions/work", json={"input": "by hand"})
    assert answer.status_code == 202
    text, message_id, taken, minutes, has_receipt, trace = json.loads(host.wait_for_log("by hand"))
    assert (text, message_id, taken, has_receipt, trace) == ("by hand", None, 0, False, "00-")
    assert minutes > 60 * 24 * 365 * 1000


def test_a_message_under_way_is_given_up_when_the_host_ends(app_directory: Path, azurite: Azurite) -> None:
    """At once; the message stays in its queue, out of sight for now. Queues elsewhere are left alone, and told."""
    cloud = "AccountName=contoso;AccountKey=eA==;QueueEndpoint=https://contoso.queue.core.windows.net"
    with (
        _queue(azurite, "endless") as queue,
        _running(app_directory, ALONE=azurite.connection_string, CLOUD=cloud) as host,
    ):
        assert host.wait_for_log("no messages are taken from queue elsewhere: CLOUD does not lead to Azurite")
        queue.send_message(_encoded("text"))
        host.wait_for_log("endless work begins")
        host.process.send_signal(signal.SIGTERM)
        assert host.process.wait(10) == 0
        assert queue.get_queue_properties().approximate_message_count == 1
        assert queue.peek_messages() == []
        queue.clear_messages()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param("/admin/functions/unknown", b"", 404, id="unknown-name"),
        pytest.param("/admin/functions/sweep", b"{", 400, id="not-json"),
        pytest.param("/admin/functions/sweep", b"[]", 400, id="not-an-object"),
        pytest.param("/admin/functions/work", b'{"input": {"a": 1}}', 400, id="not-a-text"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(client: httpx.Client, path: str, body: bytes, status: int) -> None:
    """Only a known function and a readable body are accepted."""
    assert client.post(path, content=body).status_code == status


def test_local_settings_fill_what_the_environment_lacks(client: httpx.Client) -> None:
    """A variable that is set already keeps its value."""
    assert client.get("/api/setting/FROM_FILE").text == "file"
    assert client.get("/api/setting/FROM_BOTH").text == "environment"


def test_local_settings_may_be_absent(tmp_path: Path) -> None:
    """Without the file the environment stays as it is."""
    environ = {"A": "1"}
    load_local_settings(tmp_path, environ)
    assert environ == {"A": "1"}


def test_requests_are_served_side_by_side(client: httpx.Client) -> None:
    """A handler that waits holds nobody else up."""
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.get, "/api/slow")
        assert client.get("/api/sync").text == "from a thread"
        assert slow.result(10).text == "done"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])
def test_a_signal_ends_the_host_gracefully(app_directory: Path, number: signal.Signals) -> None:
    """The request under way is answered, and the exit code is 0."""
    with _running(app_directory) as host, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(httpx.get, f"{host.url}/api/slow", trust_env=False, timeout=10)
        host.wait_for_log("slow is under way")
        host.process.send_signal(number)
        assert slow.result(10).text == "done"
        assert host.process.wait(10) == 0


def _bare_app(directory: Path) -> Path:
    (directory / "function_app.py").write_text(BARE_APP)
    (directory / "host.json").write_text(json.dumps({"version": "2.0", "extensions": {"http": {"routePrefix": ""}}}))
    return directory


def test_options_change_scheme_prefix_limit_and_level(tmp_path: Path, certificates: Certificates) -> None:
    """TLS, an empty `routePrefix`, a body limit and a log level, on one host."""
    options = ["--certificate", str(certificates.certificate), "--key", str(certificates.key)]
    environ = {"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "1000", "LOG_LEVEL": "warning"}
    trust = ssl.create_default_context(cafile=certificates.ca)
    with (
        _running(_bare_app(tmp_path), *options, **environ) as host,
        httpx.Client(base_url=host.url, verify=trust, trust_env=False, timeout=10) as client,
    ):
        assert host.announced == [f"GET {host.url}/health -> health", f"ready on {host.url}"]
        assert client.get("/health").text == f"{host.url}/health"
        assert host.log.get(timeout=10) == "health was asked"
        assert client.post("/health", content=b"x" * 1000).status_code == 404
        _assert_too_large(client, [b"x" * 1001, iter([b"x" * 600, b"x" * 600])])


def _assert_too_large(client: httpx.Client, bodies: Sequence[Any]) -> None:
    for body in bodies:
        answer = client.post("/health", content=body)
        assert (answer.status_code, answer.content, answer.headers["connection"]) == (413, b"", "close")


IN_PROCESS = """
import asyncio, sys
from pathlib import Path
import httpx
from local.host import FunctionHost

async def run():
    host = FunctionHost(Path(sys.argv[1]), random_hex=lambda size: "1" * 2 * size)
    await host.start()
    response = await host.invoke_http("GET", "http://local/api/echo/a?q=1", [("X-A", "b")])
    trace = httpx.Response(200, content=response.body).json()["trace"][0]
    await host.run("sweep")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(host), base_url="http://local") as client:
        answer = await client.get("/api/sync")
    await host.stop()
    print(response.status, trace, answer.text)

asyncio.run(run())
"""


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_the_host_is_callable_without_a_socket(app_directory: Path) -> None:
    """Tests and benchmarks call `invoke_http` and `run`, or use the host as an ASGI application."""
    ended = _run("-W", "error", "-c", IN_PROCESS, str(app_directory))
    assert (ended.stderr, ended.stdout) == ("", f"200 00-{'1' * 32}-{'1' * 16}-01 from a thread\n")


@pytest.mark.parametrize(
    ("app", "message"),
    [
        pytest.param("import nowhere", "ModuleNotFoundError: No module named 'nowhere'\n", id="import"),
        pytest.param("def broken(:", "SyntaxError: invalid syntax", id="syntax"),
        pytest.param("answer = 42", "ValueError: Could not find top level function app", id="no-app"),
        pytest.param(BARE_APP.replace('"health"', '"{id:int}"'), "ValueError: route segment", id="route"),
        pytest.param(None, "FileNotFoundError: ", id="no-file"),
    ],
)
def test_an_app_that_cannot_be_indexed_ends_the_host(tmp_path: Path, app: str | None, message: str) -> None:
    """The last line says what is wrong, and the exit code is 1."""
    if app is not None:
        (tmp_path / "function_app.py").write_text(app)
    ended = _run("-m", "local.host", "--app", str(tmp_path), "--port", "0")
    assert ended.returncode == 1
    assert ended.stderr.splitlines(keepends=True)[-1].startswith(f"cannot start {tmp_path}: {message}")
    assert ended.stderr.count("Traceback") == 1


def test_a_port_in_use_ends_the_host(host: Host, tmp_path: Path) -> None:
    """Two hosts cannot share a port."""
    port = host.url.rpartition(":")[2]
    ended = _run("-m", "local.host", "--app", str(_bare_app(tmp_path)), "--port", port)
    assert ended.returncode == 1
    assert "Address already in use" in ended.stderr.splitlines()[-1]
