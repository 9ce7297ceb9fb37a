"""Files that are written: whole or not at all, where they are meant to be, and with the rights that they had."""

import os
import pathlib
import signal
import stat
import subprocess
import sys
import threading
import time

import pandas
import pytest

import workloads
from analysis import cli, files
from hwmodel import output
from hwmodel.op import READ, Agent, TraceError, mmap_unit
from hwmodel.output import whole
from hwmodel.trace import Trace
from workloads import streams
from workloads.recorders import lackey

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOLD = """
import sys, time
from hwmodel import output
output.UNNAMED = output.UNNAMED if sys.argv[2] == "unnamed" else 0
with output.whole(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(params=["unnamed", "named"])
def way(request, monkeypatch):
    """Both kinds of temporary files."""
    if request.param == "named":
        monkeypatch.setattr(output, "UNNAMED", 0)
    elif not output.UNNAMED:
        pytest.skip("this system has no files without names")
    return request.param


@pytest.fixture
def trace():
    records = [*mmap_unit(1 << 32, 16, 3), *((1 << 32 | k << 12, 2, 1, READ, 0) for k in range(16))]
    return Trace.from_records([Agent("cpu", 0, "main")], records, name="toy")


def write(path, data=b"new"):
    with whole(path) as file:
        file.write(data)


def records(trace):
    return [record for chunk in trace.chunks() for record in chunk.tolist()]


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


class Drain(threading.Thread):
    """Reads a pipe to its end."""

    def __init__(self, path):
        super().__init__(daemon=True)
        os.mkfifo(path)
        self.path, self.data = path, b""
        self.start()

    def run(self):
        self.data = self.path.read_bytes()

    def read(self):
        self.join(timeout=60)
        assert not self.is_alive()
        assert stat.S_ISFIFO(os.stat(self.path).st_mode)
        return self.data


def test_a_new_file_has_the_mode_of_a_new_file(way, tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "file")
    finally:
        os.umask(before)
    assert (tmp_path / "file").read_bytes() == b"new" and mode(tmp_path / "file") == 0o640
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("kept", [0o600, 0o644, 0o640, 0o666, 0o4755])
def test_the_mode_of_a_file_is_kept(way, tmp_path, kept):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(kept)
    write(path)
    assert path.read_bytes() == b"new" and mode(path) == kept


@needs_root
def test_the_owner_of_a_file_is_kept(way, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 12345, 23456)
    write(path)
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (12345, 23456)


def test_a_private_file_is_private_while_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "UNNAMED", 0)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with whole(path):
        assert [mode(tmp_path / name) for name in os.listdir(tmp_path) if name.startswith(output.PREFIX)] == [0o600]


def test_what_a_link_points_to_is_replaced(way, tmp_path):
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "target"
    target.write_bytes(b"old")
    (tmp_path / "link").symlink_to("there/target")
    (tmp_path / "chain").symlink_to("link")
    write(tmp_path / "chain")
    assert os.readlink(tmp_path / "link") == "there/target" and os.readlink(tmp_path / "chain") == "link"
    assert target.read_bytes() == b"new" and os.listdir(tmp_path / "there") == ["target"]
    (tmp_path / "dangling").symlink_to("there/made")
    write(tmp_path / "dangling")
    assert (tmp_path / "there" / "made").read_bytes() == b"new" and (tmp_path / "dangling").is_symlink()
    (tmp_path / "nowhere").symlink_to("gone/made")
    with pytest.raises(OSError, match=r"nowhere: there is no folder .*gone"):
        write(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=r"symbolic links.*loop"):
        write(tmp_path / "loop")


def test_a_pipe_is_written_and_stays_one(tmp_path, trace):
    for name, save in {"x.hwtrace": trace.save, "x.csv.gz": lambda path: workloads.write(trace, path)}.items():
        reader = Drain(tmp_path / name)
        save(tmp_path / name)
        whole_file = tmp_path / f"file.{name}"
        whole_file.write_bytes(reader.read())
        assert records(workloads.read(whole_file)) == records(trace)
    frame = pandas.DataFrame({"a": [1, 2]})
    for name, save in {"t.csv": lambda file: frame.to_csv(file, index=False), "t.parquet": frame.to_parquet}.items():
        reader = Drain(tmp_path / name)
        files.write_all({tmp_path / name: save})
        files.write_all({tmp_path / f"file.{name}": save})
        assert reader.read() == (tmp_path / f"file.{name}").read_bytes()


def test_a_picture_goes_into_a_pipe(tmp_path, trace):
    reader = Drain(tmp_path / "p.png")
    trace.save(tmp_path / "t.hwtrace")
    assert cli.main(["inspect", str(tmp_path / "t.hwtrace"), "--picture", str(tmp_path / "p.png")]) == 0
    assert reader.read().startswith(b"\x89PNG")


@needs_root
@pytest.mark.parametrize("format", ["csv", "hwtrace", "champsim"])
def test_a_device_stays_one(tmp_path, trace, capfd, format):
    trace.save(tmp_path / "t.hwtrace")
    device = tmp_path / "null"
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert cli.main(["convert", str(tmp_path / "t.hwtrace"), str(device), "--format", format, *(["--lossy"] * (format == "champsim"))]) == 0
    assert stat.S_ISCHR(os.stat(device).st_mode) and sorted(os.listdir(tmp_path)) == ["null", "t.hwtrace"]
    told = capfd.readouterr()
    assert told.out == "" and f"Written: {device}" in told.err.replace("\n", "")


@needs_root
def test_a_disk_is_not_written(tmp_path):
    os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    for refused in (lambda: write(tmp_path / "disk"), lambda: output.check(tmp_path / "disk")):
        with pytest.raises(OSError, match="disk: a disk, not a file to write"):
            refused()


@pytest.mark.parametrize("redirect", ["> out.csv", "| cat > out.csv"])
def test_standard_output_can_be_the_file(tmp_path, trace, redirect):
    trace.save(tmp_path / "t.hwtrace")
    workloads.write(trace, tmp_path / "wanted.csv")
    command = f"{sys.executable} -m analysis.cli convert t.hwtrace /dev/stdout --format csv {redirect}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout == "" and "Written: /dev/stdout" in done.stderr, done
    assert (tmp_path / "out.csv").read_text() == (tmp_path / "wanted.csv").read_text()
    assert os.path.islink("/dev/stdout")


def test_a_recording_that_went_into_a_pipe_tells_its_size(tmp_path, monkeypatch, trace):
    class Recorder:
        agents = trace.agents
        cut = ()

        def __init__(self, *_):
            pass

        def chunks(self):
            return trace.chunks()

        def finish(self):
            return trace.prelude, {"exit_status": 0}

    monkeypatch.setattr(lackey, "Recorder", Recorder)
    monkeypatch.setattr(lackey, "missing", lambda: "")
    reader = Drain(tmp_path / "pipe")
    made = workloads.record(["true"], tmp_path / "pipe", tool="lackey")
    (tmp_path / "x.hwtrace").write_bytes(reader.read())
    again = workloads.read(tmp_path / "x.hwtrace")
    assert (len(made), made.references) == (len(again), again.references) == (len(trace), trace.references)
    assert made.info == again.info == {"exit_status": 0}
    with pytest.raises(TraceError, match="can't be read again"):
        list(made.chunks())


def test_a_full_disk_is_named():
    for save in (write, lambda path: workloads.write(Trace.from_records([Agent("cpu", 0, "x")], []), path, format="csv")):
        with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
            save("/dev/full")


def test_an_error_leaves_the_old_file(way, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), streams.create(path) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def holding(path, way):
    """A process that is writing."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, path, way], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"writing\n"
    return process


@pytest.mark.parametrize("killed", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_killed_writer_leaves_nothing(tmp_path, killed):
    if not output.UNNAMED:
        pytest.skip("this system has no files without names")
    with holding(tmp_path / "file", "unnamed") as process:
        process.send_signal(killed)
    assert os.listdir(tmp_path) == []


def test_what_a_dead_writer_left_is_removed_and_a_living_one_s_is_not(tmp_path, way):
    with holding(tmp_path / "one", "named") as dead, holding(tmp_path / "two", "named") as alive:
        assert sorted(name.startswith(output.PREFIX) for name in os.listdir(tmp_path)) == [True, True]
        dead.kill()
        dead.wait()
        write(tmp_path / "three")
        left = os.listdir(tmp_path)
        assert len(left) == 2 and "three" in left, left
        assert alive.poll() is None
        alive.kill()
    write(tmp_path / "three")
    assert os.listdir(tmp_path) == ["three"]


def test_writers_at_the_same_time_never_lose_their_files(tmp_path, way):
    """A new file could be taken for a dead writer's before it is locked."""
    failed, until = [], time.monotonic() + 1

    def work(name):
        try:
            while time.monotonic() < until:
                write(tmp_path / name, name.encode() * 1000)
        except BaseException as error:
            failed.append(error)

    workers = [threading.Thread(target=work, args=(f"{k}",)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failed and sorted(os.listdir(tmp_path)) == ["0", "1", "2", "3"]


AT_LAST = """
import os, signal, sys
from hwmodel import output
path, way, step, moment = sys.argv[1:]
output.UNNAMED = output.UNNAMED if way == "unnamed" else 0
usual = getattr(os, step)
def last(*arguments, **named):
    if moment == "after":
        usual(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, step, last)
with output.whole(path) as file:
    file.write(b"new")
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["fchmod", "link", "replace"])
def test_a_kill_at_the_last_moment(tmp_path, way, step, moment):
    """The file is the old one until it is the new one; a name beside it is removed by the next writer."""
    if (way, step) == ("named", "link"):
        pytest.skip("a file that has a name gets no other")
    path = tmp_path / "file"
    path.write_bytes(b"old")
    assert subprocess.run([sys.executable, "-c", AT_LAST, path, way, step, moment], cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert path.read_bytes() == (b"new" if (step, moment) == ("replace", "after") else b"old")
    beside = [name for name in os.listdir(tmp_path) if name != "file"]
    assert all(name.startswith(output.PREFIX) for name in beside)
    write(tmp_path / "other")
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]


INTERRUPTED = """
import sys
import numpy as np
class Finder:
    def find_spec(self, name, *_):
        if name == "pandas":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
from hwmodel.op import Agent
from hwmodel.trace import Trace
try:
    Trace.from_records([Agent("cpu", 0, "x")], []).save(sys.argv[1])
except KeyboardInterrupt:
    sys.stdout.write("interrupted")
"""


def test_a_ctrl_c_while_pandas_is_imported_is_not_lost(tmp_path):
    """pyarrow's own import of it drops the exception, and the file was written as if nothing had been."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, tmp_path / "x"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "interrupted" and not os.listdir(tmp_path), done


@needs_root
@pytest.mark.parametrize("name", ["x.csv", "x.hwtrace", "x.csv.gz"])
def test_a_full_disk_is_named_and_left_empty(tmp_path, capfd, name):
    records = [(1 << 32 | k << 30, 1 + k, k, READ, 0) for k in range(3000)]
    Trace.from_records([Agent("cpu", 0, "x")], records, info={"noise": os.urandom(60_000).hex()}).save(tmp_path / "t.hwtrace")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("no file systems may be mounted here")
    try:
        assert cli.main(["convert", str(tmp_path / "t.hwtrace"), str(disk / name)]) == 2
        told = capfd.readouterr()
        assert (told.out, told.err) == ("", f"hwmodel: {disk / name}: No space left on device\n") and os.listdir(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)
