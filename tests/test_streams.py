"""No output is lost: a closed or full standard stream ends a command with one line."""

import os
import struct
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
LINES = 20_000
WRITE = (
    "import sys; from sentiment import streams\n"
    "streams.prepare()\n"
    f"sys.stdout.write(''.join(f'line {{number}}\\n' for number in range({LINES})))\n"
    "streams.flush()\n"
)
STAGE = "import sys; from stages.common.command import command\ndef main(): print('made')\ncommand(main)\n"


def run(code: str, shell: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code with redirections of the shell."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {shell}', sys.executable, code], cwd=ROOT, text=True,
        env=os.environ | environment, capture_output=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("unbuffered", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["", "unbuffered"])
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_a_stage_that_cannot_write_its_output_fails_in_one_line(redirection, unbuffered):
    ended = run(STAGE, redirection, **unbuffered)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error: ")


def test_closed_streams_are_no_traceback():
    assert run(STAGE, "<&- 2>&-").stdout == "made\n"
    ended = run("from sentiment import streams; streams.prepare(); import os; os.read(0, 1)", "<&-")
    assert "Bad file descriptor" in ended.stderr


@pytest.mark.parametrize("unbuffered", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["", "unbuffered"])
def test_a_pipe_that_does_not_block_gets_every_line(unbuffered):
    assert sys.platform == "linux"
    import fcntl
    import termios

    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)  # less than is written
    os.set_blocking(writing, False)
    chunks = []

    def read():
        with open(reading, "rb") as file:
            chunks.append(file.read())

    reader = Thread(target=read)
    command = [sys.executable, "-c", WRITE]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | unbuffered, stdout=writing) as process:
        os.close(writing)
        while process.poll() is None and fcntl.ioctl(reading, termios.FIONREAD, bytes(4)) != struct.pack("i", 4096):
            time.sleep(0.01)  # until the pipe is full
        reader.start()
    reader.join()
    assert process.returncode == 0
    assert chunks[0].splitlines() == [f"line {number}".encode() for number in range(LINES)]


@pytest.mark.parametrize("unbuffered", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["", "unbuffered"])
def test_a_file_that_grows_too_large_is_an_error_and_not_a_shorter_file(tmp_path, unbuffered):
    code = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n" + WRITE.replace("\nstreams.flush()", "")
    ended = run(code, f">{tmp_path}/out", **unbuffered)
    assert ended.returncode != 0
    assert "File too large" in ended.stderr
