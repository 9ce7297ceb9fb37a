"""Reports: one file with everything in it, safe with any name, the same bytes for the same runs; Chromium shows it."""

import base64
import html.parser
import json
import re
import shutil
import subprocess
import xml.dom.minidom

import pytest

import analysis
import workloads
from analysis import cli, report, tables

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
VOID = {"meta", "img", "br", "hr", "link"}
LOOK = """<pre id="found"></pre><script>
for (const one of document.querySelectorAll("details")) one.open = true;
const broken = [...document.images].filter(one => !one.complete || !one.naturalWidth || !one.alt).length;
const blocks = [...document.querySelectorAll("h1, h2, h3, p, li, figure, summary, .wide, pre")].filter(one => one.id != "found");
const over = [];
for (let k = 0; k < blocks.length; k++) for (let j = k + 1; j < blocks.length; j++) {
  if (blocks[k].contains(blocks[j])) continue;
  const a = blocks[k].getBoundingClientRect(), b = blocks[j].getBoundingClientRect();
  const [x, y] = [Math.min(a.right, b.right) - Math.max(a.left, b.left), Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)];
  if (x > 1 && y > 1) over.push(blocks[k].textContent.slice(0, 40) + " / " + blocks[j].textContent.slice(0, 40));
}
const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.getElementById("found").textContent = JSON.stringify({images: document.images.length, broken, over, wide, blocks: blocks.length});
</script>"""
"""Counts the images that are missing or not described, the blocks that cover others, and pixels that are beyond the window."""


class Nesting(html.parser.HTMLParser):
    """Checks that every tag is closed by its own."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, (tag, self.getpos())


@pytest.fixture(scope="module")
def compared():
    trace = workloads.zipf(accesses=4000, pages=300, devices=1)
    return analysis.compare({"GRU": "gru-2008", "<b>EPT</b> & co": "kvm-ept-2008"}, trace, progress=False)


def page_of(compared, folder):
    compared.report(folder / "report.html", command="hwmodel report --out 'a b.html'")
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(compared, tmp_path_factory):
    return page_of(compared, tmp_path_factory.mktemp("report"))


def test_everything_is_in_one_file_well_nested_and_escaped(page, compared):
    nesting = Nesting()
    nesting.feed(page)
    assert not nesting.open and "<b>" not in page and "&lt;b&gt;EPT&lt;/b&gt; &amp; co" in page
    assert nesting.addresses and all(address.startswith("data:image/svg+xml;base64,") for address in nesting.addresses)
    assert not re.search(r"https?://|@import|<script|<link", page)
    for address in nesting.addresses:
        picture = xml.dom.minidom.parseString(base64.b64decode(address.partition(",")[2]))
        assert picture.documentElement.tagName == "svg"


def test_it_has_verdicts_terms_every_setting_with_its_source_versions_and_the_command(page, compared):
    text = html.unescape(re.sub(r"<[^>]*>", "\n", page))
    assert all(line in text for line in (*tables.verdict_lines(compared.verdicts), *compared.notes, *compared.cautions()))
    for result in compared.results.values():
        for name, about in result.machine.provenance().items():
            assert name in text and about.source in text, name
    assert report.model_version() in text and "hwmodel report --out 'a b.html'" in text
    assert not re.search(r"<td[^>]*>(nan|None|-?0\.0+)</td>", page), "no cell without a figure, no figure of zeros"


def test_the_same_runs_give_the_same_bytes(compared, page, tmp_path):
    assert page_of(compared, tmp_path) == page


def test_the_command_line_writes_it_or_nothing(tmp_path, capsys):
    out = tmp_path / "new" / "report.html"
    given = ["report", "--trace", str(tmp_path / "small.hwtrace"), "--machines", "gru-2008,kvm-ept-2008", "--title", "Which one?"]
    workloads.zipf(accesses=500, pages=50, devices=1).save(tmp_path / "small.hwtrace")
    assert cli.main([*given, "--out", str(out)]) == 0
    assert "<h1>Which one?</h1>" in out.read_text() and str(out) in capsys.readouterr().out
    for bad, told in {("--out", "report.htm"): "does not end in .html", ("--out", "a.html", "--warmup", "x"): "--warmup: 'x'"}.items():
        assert cli.main([*given, *bad]) == 2
        assert told in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "small.hwtrace"]


def looked_at(page, folder, width):
    """What Chromium finds in a page, and a picture of it."""
    file, shot = folder / "report.html", folder / "report.png"
    file.write_text(page.replace("</body>", LOOK + "</body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},3000", f"--user-data-dir={folder / 'profile'}"]
    made = subprocess.run([CHROMIUM, *options, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=300)
    subprocess.run([CHROMIUM, *options, f"--screenshot={shot}", file.as_uri()], capture_output=True, timeout=300, check=True)
    return json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', made.stdout)[1])), shot


@pytest.mark.skipif(CHROMIUM is None, reason="NOT SHOWN: the report in a browser, for there is no Chromium")
@pytest.mark.parametrize("width", [1300, 500])
def test_a_browser_shows_it_without_overlap_or_a_missing_picture(page, tmp_path, width):
    from matplotlib.image import imread

    found, shot = looked_at(page, tmp_path, width)
    assert found["images"] == page.count("<img") and found["broken"] == 0 and found["over"] == [] and found["wide"] <= 0, found
    assert found["blocks"] > 40 and imread(shot).std() > 0.05, "not an empty page"
    if width == 500:
        faults = '<img alt="x" src="data:image/png;base64,AA"><p style="position: absolute; top: 0">over</p>'
        faults += '<pre style="width: 2000px">x</pre>'
        found, _ = looked_at(page.replace("<main>", f"<main>{faults}"), tmp_path, width)
        assert found["broken"] == 1 and found["over"] and found["wide"] > 0, "such faults are found"
