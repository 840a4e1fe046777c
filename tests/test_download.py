"""Only the pinned bytes are accepted, sources are tried in order, and each failure is one line."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sentiment import InputError
from stages import download
from stages.params import parse

ROOT = Path(__file__).parents[1]
CONTENT = {"imdb.npz": b"reviews" * 20_000, "imdb_word_index.json": b'{"the": 1}'}
SHA256 = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
OTHER = bytes(len(CONTENT["imdb.npz"]))
PATIENCE = 5  # seconds after which a silent server answers, so that a client without a timeout fails the test


class Server:
    """A loopback server with a script for each path: each request takes the next step, and the last step repeats."""

    def __init__(self):
        self.scripts, self.targets, self.requests, self.asked = {}, {}, [], threading.Semaphore(0)
        self.sent, self.release, self.written = threading.Event(), threading.Event(), 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(self.path)
                server.asked.release()
                script = server.scripts.get(self.path, [404])
                step = script.pop(0) if len(script) > 1 else script[0]
                body = step if isinstance(step, bytes) else CONTENT["imdb.npz"]
                part = len(body) // 2 if step in ("cut", "stall") else len(body)
                if step == "silence":
                    server.release.wait(PATIENCE)
                if step in ("drip", "endless"):
                    with suppress(ConnectionError):
                        self.send_response(200)
                        self.end_headers()
                        while not server.release.wait(0.05 if step == "drip" else 0):
                            self.wfile.write(b"x" if step == "drip" else bytes(1 << 16))
                            server.written += 1
                    return
                with suppress(ConnectionError):  # the client has given up
                    self.send_response(step if isinstance(step, int) else 200)
                    self.send_header("Content-Length", str(len(body)))
                    if step == 302:
                        self.send_header("Location", server.targets[self.path])
                    self.end_headers()
                    self.wfile.write(body[:part])
                    server.sent.set()
                    if step == "stall":
                        server.release.wait(PATIENCE)
                        self.wfile.write(body[part:])

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.release.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def url(self, path):
        return f"http://127.0.0.1:{self.http.server_port}{path}"


@pytest.fixture
def server():
    with Server() as running:
        yield running


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty folder to work in, an empty Keras cache, and no source but those a test adds."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("IMDB_SOURCE", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def waits(monkeypatch):
    """List to which each wait between tries adds its seconds, without waiting."""
    seconds = []
    monkeypatch.setattr(download.time, "sleep", seconds.append)
    return seconds


def text(reviews=(), word_index=(), timeout=5.0, retries=2, deadline=60.0):
    """Text of a params.yaml with these addresses and the models of this project."""
    section = {
        "deadline": deadline,
        "timeout": timeout,
        "retries": retries,
        "reviews": {"sha256": SHA256["imdb.npz"], "size": len(CONTENT["imdb.npz"]), "urls": list(reviews)},
        "word_index": {
            "sha256": SHA256["imdb_word_index.json"],
            "size": len(CONTENT["imdb_word_index.json"]),
            "urls": list(word_index),
        },
    }
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    return f"download: {json.dumps(section)}\n" + params[params.index("\ncorpora:") :]


def run(*reviews, **options):
    """Run the stage on these addresses of the reviews; the word index is already there."""
    fill("data/raw", "imdb_word_index.json")
    download.main(parse(text(reviews, **options)).download)


def run_process(**options):
    Path("params.yaml").write_text(text(**options), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "stages.download"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fill(folder, *names, content=None):
    """Write the named files, by default both, into ``folder``."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in names or CONTENT:
        (Path(folder) / name).write_bytes(CONTENT[name] if content is None else content)
    return Path(folder)


def raw():
    """Contents of the files in data/raw, without the labels, which are not downloaded."""
    return {path.name: path.read_bytes() for path in Path("data/raw").iterdir() if path.name != "imdb_about.json"}


def raw_lacks_reviews():
    return list(raw()) == ["imdb_word_index.json"]


def test_both_files_come_from_their_addresses(server, capsys):
    server.scripts = {"/a": [CONTENT["imdb.npz"]], "/b": [CONTENT["imdb_word_index.json"]]}
    download.main(parse(text([server.url("/a")], [server.url("/b")])).download)
    assert raw() == CONTENT
    assert json.loads(Path("data/raw/imdb_about.json").read_bytes())["labels"] == ["negative", "positive"]
    assert capsys.readouterr().out.splitlines() == [
        f"data/raw/imdb.npz: from {server.url('/a')}",
        f"data/raw/imdb_word_index.json: from {server.url('/b')}",
    ]


def test_a_file_in_place_is_kept_without_asking_anyone(server, monkeypatch, capsys):
    fill("data/raw")
    monkeypatch.setenv("IMDB_SOURCE", "/nowhere")
    before = Path("data/raw/imdb.npz").stat()
    run(server.url("/a"))
    after = Path("data/raw/imdb.npz").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert capsys.readouterr().out.count("kept") == 2
    assert server.requests == []


def test_a_file_in_place_with_other_bytes_is_replaced(server):
    fill("data/raw", "imdb.npz", content=OTHER)
    server.scripts = {"/a": [CONTENT["imdb.npz"]]}
    run(server.url("/a"))
    assert raw() == CONTENT


def test_a_missing_file_is_asked_for_once_and_the_next_address_serves(server, waits, capsys):
    server.scripts = {"/b": [CONTENT["imdb.npz"]]}
    run(server.url("/a"), server.url("/b"))
    assert server.requests == ["/a", "/b"]
    assert waits == []
    assert f"warning: {server.url('/a')}: 404 Client Error: Not Found\n" == capsys.readouterr().err


@pytest.mark.parametrize("failure", [500, 503, 429, 408, "cut"])
def test_a_failure_that_may_pass_is_tried_again_after_longer_and_longer_waits(server, waits, failure):
    server.scripts = {"/a": [failure, failure, CONTENT["imdb.npz"]]}
    run(server.url("/a"), retries=2)
    assert server.requests == ["/a"] * 3
    assert waits == [1, 2]
    assert raw() == CONTENT


def test_a_server_without_a_valid_certificate_is_asked_once(server, waits):
    with pytest.raises(InputError, match="SSL"):
        run(server.url("/a").replace("http:", "https:"), retries=2)
    assert waits == []
    assert raw_lacks_reviews()


def test_no_wait_is_longer_than_ten_seconds(server, waits):
    server.scripts = {"/a": [503] * 12 + [CONTENT["imdb.npz"]]}
    run(server.url("/a"), retries=12)
    assert waits == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10]


def test_no_wait_is_longer_than_the_time_to_the_deadline(server, waits):
    server.scripts = {"/a": [503]}
    with pytest.raises(InputError):
        run(server.url("/a"), retries=12, deadline=5.0)
    assert waits
    assert max(waits) <= 5


@pytest.mark.parametrize(("failure", "named"), [(500, "500 Server Error"), ("cut", "IncompleteRead")])
def test_the_number_of_tries_is_limited(server, waits, failure, named):
    server.scripts = {"/a": [failure]}
    with pytest.raises(InputError, match=named):
        run(server.url("/a"), retries=1)
    assert server.requests == ["/a"] * 2
    assert raw_lacks_reviews()


@pytest.mark.parametrize("failure", ["silence", "stall"])
def test_a_server_that_falls_silent_is_given_up(server, waits, failure):
    server.scripts = {"/a": [failure]}
    with pytest.raises(InputError, match="timed out"):
        run(server.url("/a"), timeout=0.2, retries=1)
    assert all(server.asked.acquire(timeout=60) for _ in range(2))  # its thread may be slower than the client's timeout
    assert server.requests == ["/a"] * 2
    assert raw_lacks_reviews()


def test_a_drip_ends_at_the_deadline_and_no_byte_of_it_is_kept(server):
    server.scripts = {"/a": ["drip"]}
    with pytest.raises(InputError, match=r"download\.deadline is over"):
        run(server.url("/a"), timeout=60.0, deadline=0.5)
    assert server.requests == ["/a"]
    assert raw_lacks_reviews()


@pytest.mark.parametrize("body", ["endless", CONTENT["imdb.npz"] + b"x", CONTENT["imdb.npz"][:-1], b"<html>"], ids=len)
def test_a_body_of_another_length_is_given_up_at_once_and_asked_for_once(server, body):
    server.scripts = {"/a": [body]}
    with pytest.raises(InputError, match=r"expected 140,000 bytes, and the server (sends more|declares )"):
        run(server.url("/a"))
    assert server.requests == ["/a"]
    assert raw_lacks_reviews()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "/a"])
def test_a_redirect_to_itself_or_another_scheme_is_no_source(server, target):
    server.scripts, server.targets = {"/a": [302]}, {"/a": target}
    with pytest.raises(InputError, match=r"No connection adapters|Exceeded 30 redirects"):
        run(server.url("/a"))
    assert len(server.requests) in (1, 31)


def test_an_object_in_dvcs_cache_is_a_source_if_it_has_the_pinned_bytes(tmp_path, server, capsys, monkeypatch):
    kept = tmp_path / "object"
    monkeypatch.setattr(download, "dvc_cache", lambda target: kept if target.name == "imdb.npz" else None)
    kept.write_bytes(OTHER)
    server.scripts = {"/a": [CONTENT["imdb.npz"]]}
    run(server.url("/a"))
    assert capsys.readouterr().err.startswith(f"warning: {kept}: expected SHA-256")
    Path("data/raw/imdb.npz").unlink()
    kept.write_bytes(CONTENT["imdb.npz"])
    run(server.url("/a"))
    assert capsys.readouterr().out.startswith(f"data/raw/imdb.npz: from {kept}\n")
    Path("data/raw/imdb.npz").unlink()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "user"))
    fill(tmp_path / "user/datasets")
    run(server.url("/a"))
    assert capsys.readouterr().out.startswith(f"data/raw/imdb.npz: from {kept}\n")  # not from the Keras cache
    assert server.requests == ["/a"]


@pytest.mark.skipif(sys.platform == "win32", reason="has no pipes among files")
def test_a_device_is_no_source(monkeypatch, tmp_path):
    assert sys.platform != "win32"
    os.mkfifo(tmp_path / "imdb.npz")
    monkeypatch.setenv("IMDB_SOURCE", str(tmp_path))
    with pytest.raises(InputError, match="expected an ordinary file"):
        run()


def test_other_bytes_are_named_and_the_next_address_serves(server, capsys):
    server.scripts = {"/a": [OTHER], "/b": [CONTENT["imdb.npz"]]}
    run(server.url("/a"), server.url("/b"))
    digest = hashlib.sha256(OTHER).hexdigest()
    line = f"warning: {server.url('/a')}: expected SHA-256 {SHA256['imdb.npz']}, found {digest}\n"
    assert capsys.readouterr().err == line
    assert server.requests == ["/a", "/b"]
    assert raw() == CONTENT


def test_without_a_network_one_error_lists_what_was_tried_and_the_ways_out(waits, tmp_path):
    with Server() as gone:
        closed = gone.url("/a")
    with pytest.raises(InputError) as caught:
        run(closed, closed.replace("/a", "/b"))
    first, cache, a, b, remedy = str(caught.value).splitlines()
    assert first == "data/raw/imdb.npz: no source gave it"
    assert cache == f"{tmp_path}/keras/datasets/imdb.npz: No such file or directory"
    assert a == f"{closed}: Connection refused"
    assert b == f"{closed.replace('/a', '/b')}: Connection refused"
    assert "IMDB_SOURCE" in remedy
    assert "make demo" in remedy
    assert raw_lacks_reviews()


@pytest.mark.parametrize("named", ["", "/imdb.npz", "/imdb_word_index.json"])
@pytest.mark.parametrize("scheme", ["", "file://", "file://localhost"])
def test_a_named_source_is_a_folder_or_either_file(tmp_path, monkeypatch, capsys, scheme, named):
    mine = fill(tmp_path / "mine")
    monkeypatch.setenv("IMDB_SOURCE", f"{scheme}{mine}{named}")
    download.main(parse(text()).download)
    assert raw() == CONTENT
    assert capsys.readouterr().out.splitlines() == [f"data/raw/{name}: from {mine / name}" for name in CONTENT]


def test_a_file_url_may_hold_escapes(tmp_path, monkeypatch):
    monkeypatch.setenv("IMDB_SOURCE", fill(tmp_path / "my data").as_uri())
    download.main(parse(text()).download)
    assert raw() == CONTENT


@pytest.mark.parametrize("named", ["", "/imdb.npz", "/reviews.npz"])
def test_a_named_source_without_the_file_is_an_error_although_others_have_it(tmp_path, monkeypatch, server, named):
    fill(tmp_path / "keras/datasets")
    monkeypatch.setenv("IMDB_SOURCE", f"{tmp_path}/mine{named}")
    with pytest.raises(InputError) as caught:
        run(server.url("/a"))
    assert f"IMDB_SOURCE={tmp_path}/mine{named}: " in str(caught.value)
    assert "No such file or directory; name a folder that holds imdb.npz" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert server.requests == []
    assert raw_lacks_reviews()


@pytest.mark.parametrize("source", ["file://[mine", "file:///mine/%00", "mine\0"])
def test_a_named_source_that_can_be_no_file_is_an_error(monkeypatch, source):
    monkeypatch.setattr(download.os, "environ", {"IMDB_SOURCE": source})  # the real one accepts no null byte
    with pytest.raises(InputError, match="name a folder") as caught:
        run()
    assert str(caught.value).startswith(f"IMDB_SOURCE={source}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "source", ["https://example.org/imdb", "s3://bucket/imdb", "FTP://x/y", "file://nas/imdb", "s3:///imdb"]
)
def test_a_named_source_on_another_machine_is_an_error_that_lists_what_it_may_be(monkeypatch, source):
    monkeypatch.setenv("IMDB_SOURCE", source)
    with pytest.raises(InputError) as caught:
        run()
    host = source.rpartition("/")[0]
    assert (
        str(caught.value)
        .lower()
        .startswith(f"imdb_source={source.lower()}: expected a path on this machine, got {host.lower()}")
    )
    assert "name a folder, a file or a file:// URL, or unset IMDB_SOURCE" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert raw_lacks_reviews()


def test_a_relative_source_is_relative_to_the_repository_wherever_dvc_runs_the_stage(tmp_path, monkeypatch):
    """`dvc exp run --temp` runs the stage in a copy, and DVC_ROOT is the path of the repository."""
    fill(tmp_path / "repository/mine")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "repository"))
    monkeypatch.setenv("IMDB_SOURCE", "mine")
    download.main(parse(text()).download)
    assert raw() == CONTENT


def test_a_named_source_with_other_bytes_is_an_error_and_stays_as_it_is(tmp_path, monkeypatch):
    mine = fill(tmp_path / "mine", "imdb.npz", content=OTHER) / "imdb.npz"
    before = mine.stat()
    fill(tmp_path / "keras/datasets")
    monkeypatch.setenv("IMDB_SOURCE", str(mine))
    with pytest.raises(InputError) as caught:
        run()
    for part in (str(mine), SHA256["imdb.npz"], hashlib.sha256(OTHER).hexdigest(), "use the official one"):
        assert part in str(caught.value)
    assert "name a folder" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (mine.read_bytes(), mine.stat().st_mtime_ns) == (OTHER, before.st_mtime_ns)
    assert [path.name for path in mine.parent.iterdir()] == ["imdb.npz"]
    assert raw_lacks_reviews()


@pytest.mark.parametrize("variable", ["KERAS_HOME", "HOME"])
def test_the_keras_cache_comes_before_the_addresses(tmp_path, monkeypatch, server, capsys, variable):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv(variable, str(tmp_path / "user"))
    cache = fill(tmp_path / "user" / ("datasets" if variable == "KERAS_HOME" else ".keras/datasets"))
    download.main(parse(text([server.url("/a")], [server.url("/b")])).download)
    assert raw() == CONTENT
    assert server.requests == []
    assert capsys.readouterr().out.splitlines()[0] == f"data/raw/imdb.npz: from {cache / 'imdb.npz'}"


def test_a_keras_cache_of_other_bytes_is_passed_over_with_a_warning_and_stays_as_it_is(tmp_path, server, capsys):
    cache = fill(tmp_path / "keras/datasets", "imdb.npz", content=OTHER)
    server.scripts = {"/a": [CONTENT["imdb.npz"]]}
    run(server.url("/a"))
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {cache / 'imdb.npz'}: ")
    assert SHA256["imdb.npz"] in warning
    assert hashlib.sha256(OTHER).hexdigest() in warning
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == {"imdb.npz": OTHER}
    assert raw() == CONTENT


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG], ids=errno.errorcode.get)
@pytest.mark.parametrize("full_at", ["named source", "Keras cache", "address"])
def test_a_full_disk_is_no_fault_of_the_source_and_no_other_source_is_tried(
    monkeypatch, tmp_path, server, capsys, full_at, code
):
    def full(*arguments):
        path = next(path for path in arguments if isinstance(path, Path) and path.name.startswith("."))
        path.write_bytes(b"half")
        raise OSError(code, os.strerror(code), str(path))

    if full_at == "named source":
        monkeypatch.setenv("IMDB_SOURCE", str(fill(tmp_path / "mine")))
    server.scripts = {"/b": [CONTENT["imdb.npz"]]}
    monkeypatch.setattr(download, "download" if full_at == "address" else "copy", full)
    with pytest.raises(OSError, match=r"data/raw/imdb\.npz") as caught:
        run(server.url("/a"), server.url("/b"))
    assert (type(caught.value), caught.value.errno) == (OSError, code)
    assert server.requests == []
    assert capsys.readouterr().err == ""
    assert raw_lacks_reviews()


def test_an_interrupted_download_leaves_nothing_behind(server):
    server.scripts = {"/a": ["stall"]}
    process = run_process(reviews=[server.url("/a")], timeout=60.0)
    assert server.sent.wait(60)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, "")
    assert "Traceback" not in errors
    assert raw() == {}


def test_the_command_ends_in_error_lines_without_a_traceback(server):
    process = run_process(reviews=[server.url("/a")])
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    warning, *lines = errors.splitlines()
    assert warning == f"warning: {server.url('/a')}: 404 Client Error: Not Found"
    assert len(lines) == 4
    assert all(line.startswith("error: ") for line in lines)


def test_the_command_needs_no_network_library_where_the_network_is_not_needed():
    code = "import sys, stages.download; sys.exit(bool({'dvc', 'requests'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
