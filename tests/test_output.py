"""What becomes of the output: a reader that goes, a closed stream and an interrupt are quiet; a full disk is one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-m", "sleepkit"]
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # as a shell starts programs
FULL = Path("/dev/full")


@pytest.mark.parametrize("command", ["presets", "figure", "tasks list", "--help", "zoo"])
def test_a_reader_that_is_gone_ends_the_command_quietly(command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        program = [*PROGRAM, *command.split()]
        done = subprocess.run(program, stdout=writer, stderr=subprocess.PIPE, env=BUFFERED, text=True, timeout=120, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_are_quiet_and_no_file_is_taken_for_one(closed: str, tmp_path: Path) -> None:
    command = f"'{sys.executable}' -m sleepkit tasks show rule110 {closed}; echo $? >status"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (tmp_path / "status").read_text() == "0\n"
    assert done.stderr == ""


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_under_the_output_is_one_line_and_status_2() -> None:
    with FULL.open("w") as full:
        program = [*PROGRAM, "presets"]
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, env=BUFFERED, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr == "sleepkit: path: must be on a device with space left, which is full, got 'standard output'\n"


def test_an_interrupt_while_the_program_is_imported_is_quiet(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'sleepkit.settings':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupts())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()])}
    done = subprocess.run([*PROGRAM, "presets"], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_names_that_the_terminal_cannot_write_are_escaped() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [*PROGRAM, "figure", "größe"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "gr\\xf6\\xdfe" in done.stderr
