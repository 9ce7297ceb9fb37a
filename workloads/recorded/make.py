"""Make the recordings of this folder: `python -m workloads.recorded.make [NAME ...]`.

Needs valgrind; `git` needs qemu-user, `kernel` needs Linux, root and KVM.

Each recording is of a program on inputs that are generated here, in an empty directory and environment.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

from hwmodel.op import TraceError
from hwmodel.trace import Trace
from workloads.formats.kernel import read_kernel
from workloads.recorded import KERNEL_SUFFIX
from workloads.recorders.record import record
from workloads.recorders.recordkernel import record_kernel

HERE = pathlib.Path(__file__).resolve().parent
ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": "."}

SQL = """\
.output /dev/null
PRAGMA mmap_size = 16777216;
PRAGMA cache_size = 200;
PRAGMA synchronous = OFF;
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, city INTEGER);
CREATE TABLE item (id INTEGER PRIMARY KEY, customer INTEGER, price REAL, note TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {customers})
  INSERT INTO customer SELECT i, printf('customer %05d', i * 7919 % 99991), i * 31 % 50 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {items})
  INSERT INTO item SELECT i, 1 + i * 7919 % {customers}, i * 613 % 10007 / 100.0, hex(zeroblob(40 + i % 80)) FROM n;
COMMIT;
CREATE INDEX by_customer ON item (customer, price);
CREATE INDEX by_name ON customer (name);
SELECT city, count(*), avg(price) FROM customer JOIN item ON item.customer = customer.id GROUP BY city ORDER BY 3;
SELECT name, sum(price) FROM customer JOIN item ON item.customer = customer.id GROUP BY name ORDER BY 2 DESC LIMIT 20;
UPDATE item SET price = price * 1.1 WHERE customer % 5 = 0;
DELETE FROM item WHERE id % 3 = 0;
VACUUM;
SELECT count(*), max(note) FROM item WHERE price > 50;
"""


def main(names: list[str]) -> None:
    """Make the named recordings, or all."""
    for name in names or PROGRAMS:
        if name not in PROGRAMS:
            raise TraceError(f"no recording {name!r}; there are {', '.join(PROGRAMS)}")
        with tempfile.TemporaryDirectory() as folder:
            trace = PROGRAMS[name](pathlib.Path(folder), HERE / f"{name}.hwtrace")
        sys.stdout.write(f"{name}: {len(trace)} records, {trace.references} references, {trace.info['operations']}\n")


def sqlite(folder: pathlib.Path, out: pathlib.Path) -> Trace:
    """Record a sqlite3 shell that fills, indexes, joins, thins out and vacuums a database in a file that it maps."""
    (folder / "work.sql").write_text(SQL.format(customers=280, items=960))
    return record([_program("sqlite3"), "work.db", ".read work.sql"], out, tool="lackey", cwd=folder, env=ENV)


def gcc(folder: pathlib.Path, out: pathlib.Path) -> Trace:
    """Record the C compiler's front end, which reads a generated file and builds its functions; code generation is left out."""
    (folder / "work.c").write_text(c_source(functions=10))
    found = subprocess.run([_program("gcc"), "-print-prog-name=cc1"], capture_output=True, text=True, check=True)
    return record([found.stdout.strip(), "-quiet", "-fsyntax-only", "work.c"], out, tool="lackey", cwd=folder, env=ENV)


def git(folder: pathlib.Path, out: pathlib.Path) -> Trace:
    """Record git grep: four threads look for a word in files, each read into memory of its own that is unmapped afterwards.

    Every file is larger than those before it: glibc maps a buffer that is larger than any freed so far.
    """
    (folder / "files").mkdir()
    for i in range(24):
        (folder / "files" / f"{i:02}.txt").write_text(text(140_000 + 4_000 * i, seed=i + 1))
    options = ["--no-index", "--threads=4", "-c", "-w", "-F", "-e", "c12"]
    env = ENV | {"GIT_CONFIG_NOSYSTEM": "1"}
    return record([_program("git"), "grep", *options, "files"], out, tool="qemu", cwd=folder, env=env)


def sort(folder: pathlib.Path, out: pathlib.Path) -> Trace:
    """Record GNU sort, which puts a table of 12,000 rows, 75 MB, in order in memory: a late comparison is of rows far apart."""
    with (folder / "table.txt").open("w") as table:
        table.writelines(rows(12_000))
    options = ["--buffer-size=96M", "--parallel=1", "--output=/dev/null"]
    return record([_program("sort"), *options, "table.txt"], out, tool="lackey", cwd=folder, env=ENV)


def rows(number: int) -> Iterator[str]:
    """Yield rows of 2.5 to 10 KB that differ in their first word, in random order."""
    for i in range(number):
        key = hashlib.sha256(b"%d" % i).hexdigest()
        yield f"{key} {'x' * (2400 + int(key[:4], 16) * 7700 // 65536)}\n"


def text(size: int, seed: int) -> str:
    """Return lines of nine words, at least `size` bytes; the words follow from the seed."""
    lines, length, state = [], 0, seed
    while length < size:
        words = []
        for _ in range(9):
            state = (state * 1103515245 + 12345) % (1 << 31)
            words.append(f"{state >> 11:x}")
        lines.append(" ".join(words))
        length += len(lines[-1]) + 1
    return "\n".join(lines) + "\n"


def kernel(folder: pathlib.Path, out: pathlib.Path) -> Trace:
    """Record the kernel's events of a Python program: three threads compress, a forked child reads a snapshot while its parent writes."""
    (folder / "work.py").write_text(PYTHON)
    path = out.with_name(f"{out.stem}{KERNEL_SUFFIX}")
    record_kernel([_program("python3"), "-I", "-S", "work.py"], path, cwd=folder, env=ENV)
    return read_kernel(path)


PYTHON = """\
import hashlib, os, threading, zlib

blocks = [b"".join(hashlib.sha256(b"%d %d" % (i, k)).digest() for k in range(6000)) for i in range(6)]
found = []

def compress(first):
    text = bytearray()
    for i in range(4):
        text += blocks[(first + i) % len(blocks)] * 2  # grows by mremap
        packed = zlib.compress(text, 1)
        found.append(len(zlib.decompress(packed)))

threads = [threading.Thread(target=compress, args=(i,)) for i in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
table = [bytearray(4096) for _ in range(2000)]
child = os.fork()
if child == 0:
    os._exit(sum(row[0] for row in table) & 1)
for row in table[::3]:
    row[0] = 1  # copied on write while the child reads
os.waitpid(child, 0)
assert sum(found) == 3 * (1 + 2 + 3 + 4) * 2 * 6000 * 32
"""


def c_source(functions: int) -> str:
    """Return a C file of hash, sort and matrix functions, each slightly different."""
    parts = ["typedef unsigned long word;", "struct node { word key; struct node *left, *right; };"]
    for i in range(functions):
        parts.append(C_FUNCTIONS.replace("@", str(i)).replace("$", str(2 * i + 3)))
    return "\n".join(parts)


C_FUNCTIONS = """
word hash_@(const char *text, word length) {
  word h = $;
  for (word i = 0; i < length; i++) h = (h ^ (word) text[i]) * 1099511628211UL + (h >> $);
  return h;
}
static void swap_@(word *a, word *b) { word t = *a; *a = *b; *b = t; }
void sort_@(word *values, int low, int high) {
  while (low < high) {
    word pivot = values[low + (high - low) / 2];
    int i = low, j = high;
    while (i <= j) {
      while (values[i] % $ < pivot % $) i++;
      while (values[j] % $ > pivot % $) j--;
      if (i <= j) swap_@(&values[i++], &values[j--]);
    }
    sort_@(values, low, j);
    low = i;
  }
}
struct node *insert_@(struct node *tree, struct node *new) {
  if (!tree) return new;
  if (new->key * $ < tree->key) tree->left = insert_@(tree->left, new);
  else tree->right = insert_@(tree->right, new);
  return tree;
}
void multiply_@(double *out, const double *a, const double *b, int n) {
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      double sum = 0;
      for (int k = 0; k < n; k++) sum += a[i * n + k] * b[k * n + j] * $;
      out[i * n + j] = sum;
    }
}
"""

PROGRAMS: dict[str, Callable[[pathlib.Path, pathlib.Path], Trace]] = {
    "sqlite": sqlite, "gcc": gcc, "git": git, "kernel": kernel, "sort": sort,
}  # fmt: skip


def _program(name: str) -> str:
    path = shutil.which(name, path=ENV["PATH"])
    if path is None:
        raise TraceError(f"this recording needs {name}, which is not installed")
    return os.fspath(path)


if __name__ == "__main__":
    main(sys.argv[1:])
