"""README.md and docs/: links, length, and every shell block.

Executed: the six commands of the README, from a folder of videos to an exported model, on
synthetic videos in UCF-101's layout, with an I3D of random weights and small sizes
(`test_the_six_commands`); the one of pip installs a copy of the project without its requirements.
The code of docs/adding_a_system.md. The pages' commands on a run of the quickstart
(tests/outside/test_scripts_outside.py) and tpu_vm.sh in dry runs (tests/test_clusters.py).

Only parsed: all other lines of blocks that begin with ```sh. Commands of the package are parsed
with their own flags: unknown flags, configs and fields of configs, and wrong values, fail. Scripts
must exist, be valid for bash, and know the options that the line gives them.
"""

import ast
import os
import re
import subprocess
import sys
import urllib.parse

import pytest

from tests import docs_commands
from tests.docs_commands import PAGES, ROOT
from vidgan_jax.analysis.cost import published_scores, reproducing_page
from vidgan_jax.models import registry, stored_config
from vidgan_jax.runtime.config import named
from vidgan_jax.runtime.errors import UserError

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def _text(path):
  return path.read_text(encoding="utf-8")


def _without_code(text):
  """The text without blocks and code in lines, in which brackets are no links."""
  text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
  return re.sub(r"`[^`\n]*`", "", text)


def _anchors(path):
  """The anchors of a page's headings, as GitHub makes them."""
  text = re.sub(r"^```.*?^```$", "", _text(path), flags=re.MULTILINE | re.DOTALL)
  anchors = []
  for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    anchor = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
    equal = sum(a == anchor or bool(re.fullmatch(rf"{re.escape(anchor)}-\d+", a)) for a in anchors)
    anchors.append(f"{anchor}-{equal}" if equal else anchor)
  return anchors


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_point_at_what_exists(path):
  wrong = []
  for target in _LINK.findall(_without_code(_text(path))):
    if re.match(r"https?://|mailto:", target):
      continue
    file, _, anchor = target.partition("#")
    there = path.parent / urllib.parse.unquote(file) if file else path
    if not there.exists() or (anchor and anchor not in _anchors(there)):
      wrong.append(target)
  assert not wrong


def test_the_readme_is_short():
  assert len(_text(ROOT / "README.md").split()) <= 900


def test_the_index_lists_every_page():
  index = set(_LINK.findall(_text(ROOT / "docs" / "README.md")))
  assert {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"} <= index


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_shell_blocks(path):
  """Each command exists and accepts its flags."""
  lines = docs_commands.commands(path)
  inner = [(words, command) for words in lines for command in docs_commands.inner(words)]
  refusals = docs_commands.parse([command for _, command in inner])
  faults = {" ".join(words): docs_commands.fault(words) for words in lines}
  for (words, _), refusal in zip(inner, refusals, strict=True):
    faults[" ".join(words)] = faults[" ".join(words)] or refusal
  assert {line: found for line, found in faults.items() if found} == {}


def test_blocks_of_commands_are_marked():
  """A block without a language would not be checked."""
  program = re.compile(r"^(\S+=\S+ )*(vidgan|python|pip|docker|\./|launch/|sbatch|git) ?", re.M)
  assert not [
    (path.name, text)
    for path in PAGES
    for text in docs_commands.blocks(path, "")
    if program.search(text)
  ]


@pytest.mark.parametrize(
  ("line", "words"),
  (
    ("vidgan train --config=quickstart --workdir=DIR --no_such_flag", "no_such_flag"),
    ("vidgan train --config=no_such_config --workdir=DIR", "unknown config"),
    ("vidgan train --config=tgan:no_such_row --workdir=DIR", "unknown config argument"),
    ("python -m vidgan_jax.train --config=tgan --workdir=D --config.no_field=1", "unknown config"),
    ("vidgan train --config=tgan --workdir=DIR --config.batch_size=0", "batch_size"),
    ("vidgan train --config=tgan --workdir=DIR --config.model.latent_dim=text", "latent_dim"),
    ("vidgan sample --output=DIR", "workdir is required"),
    ("vidgan evaluate --count=1", "count"),
    ("launch/cascade.sh ssw_gan:no_such_stage", "unknown config argument"),
    ("launch/babysit.sh launch/multi_gpu.sh --config=tgan --workdir=DIR --x=1", "Unknown"),
    ("docker run image train --config=tgan --workdir=DIR --y=1", "Unknown"),
  ),
)
def test_wrong_commands_are_seen(line, words):
  (command,) = docs_commands.inner(line.split())
  (refusal,) = docs_commands.parse([command])
  assert words.lower() in refusal.lower() and "Traceback" not in refusal


@pytest.mark.parametrize(
  ("line", "words"),
  (
    ("launch/no_such.sh", "no file"),
    ("no_such_program --flag", "no program"),
    ("launch/quickstart.sh --no_such_option", "no_such_option"),
    ("python benchmarks/small_data.py --no_such_flag=1", "no_such_flag"),
    ("python -m vidgan_jax.models.no_such_page", "no module"),
    ("pip install -r no-requirements.txt", "does not exist"),
    ("pip install .[no_such_extra]", "no extra"),
    ("sbatch launch/no_such.sbatch", "does not exist"),
  ),
)
def test_wrong_programs_are_seen(line, words):
  assert words in docs_commands.fault(line.split())


def test_the_table_of_networks_is_complete():
  """docs/evaluation.md names every network, and every known file with its digest and size."""
  from vidgan_jax.evaluation.features import extractor
  from vidgan_jax.weights import known

  text = _text(ROOT / "docs" / "evaluation.md")
  assert all(f"| `{name}` |" in text for name in extractor.NETWORKS)
  for file in known.FILES:
    if file.network or "no weights" not in file.note:
      (line,) = (x for x in text.splitlines() if (file.git_sha1 or file.sha256) in x)
      assert f"| {file.size:,} |" in line if file.size else "| not known |" in line


def _texts_of_the_package():
  """All constant texts in the code, whose pieces in an f-string are joined by \0."""
  texts = []
  for path in [*(ROOT / "vidgan_jax").rglob("*.py"), *(ROOT / "configs").glob("*.py")]:
    for node in ast.walk(ast.parse(_text(path))):
      if isinstance(node, ast.Constant) and isinstance(node.value, str):
        texts.append(node.value)
  return "\0".join(texts)


def test_the_messages_of_the_page_are_those_of_the_code():
  """Each piece of a message in docs/troubleshooting.md, between `...`, is a text in the code."""
  known, unknown, count = _texts_of_the_package(), [], 0
  for row in re.findall(
    r"^\| (`.*?) \| ", _text(ROOT / "docs" / "troubleshooting.md"), re.MULTILINE
  ):
    for message in re.findall(r"`([^`]+)`", row):
      for piece in re.split(r"\.{3,}", message):
        piece = piece.strip(" :;,.()'\"")
        count += 1
        if piece not in known:
          unknown.append(piece)
  assert count > 100 and not unknown


def test_the_system_of_the_page_trains_and_samples(tmp_path):
  """The code of docs/adding_a_system.md, saved and run as the page says."""
  page = ROOT / "docs" / "adding_a_system.md"
  file, use = docs_commands.blocks(page, "python")
  (tmp_path / "tiny_gan.py").write_text(file, encoding="utf-8")

  def run(*words):
    done = subprocess.run(
      [sys.executable, *words],
      cwd=tmp_path,
      env={**os.environ, "PYTHONPATH": str(ROOT)},
      capture_output=True,
      text=True,
      timeout=600,
      check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr[-3000:])
    return done.stdout

  for words in docs_commands.commands(page):
    run("-m", "vidgan_jax", *words[1:])
  assert run("-c", f"{use}\nprint(clips.shape, clips.dtype)") == "(4, 8, 16, 16, 3) uint8\n"
  assert (tmp_path / "runs" / "tiny" / "samples").exists()


def test_a_name_of_the_package_cannot_be_registered():
  with pytest.raises(UserError, match="this package has a model 'tgan' itself"):
    registry.register("tgan", {}, None)


def test_the_page_of_experiments_is_the_generated_one():
  assert _text(reproducing_page.PAGE) == reproducing_page.page(), (
    "run python -m vidgan_jax.analysis.cost.reproducing_page"
  )


def test_every_config_has_its_cost_and_every_score_its_config():
  configs, costs = reproducing_page.configs(), reproducing_page.known_costs()
  assert {name.partition(":")[0] for name in configs} == set(named.known())
  assert list(costs) == list(configs)
  for name, config in configs.items():
    assert costs[name].get("num_iterations") == config.num_iterations, costs[name]
    # All fields that enter an update, such as the channels of the networks.
    assert costs[name].get("identity") == stored_config.identity(config), (
      f"the costs of {name} were counted with another config; run "
      "python -m vidgan_jax.analysis.cost.reproducing_page --measure"
    )
    if "batch_factor" not in config.model:  # networks that grow have a batch size for each phase
      assert costs[name].get("batch_size") == config.batch_size, costs[name]
  for section in published_scores.SECTIONS:
    assert {f"{section.file}:{row}" for row in section.scores} <= set(configs)


@pytest.mark.parametrize("name", ("tgan:f_c1", "progressive_vgan:shapes"))
def test_the_costs_are_those_of_the_code(name):
  """Two cheap ones are counted again, one of a network that grows."""
  counted = reproducing_page.measure(name, reproducing_page.configs()[name])
  known = reproducing_page.known_costs()[name]
  assert counted.pop("name") == known.pop("name") == name
  assert counted.pop("identity") == known.pop("identity")
  assert counted == pytest.approx(known, rel=1e-6)


def test_the_readme_states_the_costs_of_its_commands():
  """Hours and memory of the six commands' config, from the costs."""
  text, cost = _text(ROOT / "README.md"), reproducing_page.known_costs()["tgan:f_c1"]
  hours = lambda tflops: cost["total_tflop"] / tflops / reproducing_page.UTILISATION / 3600
  for tflops in (165, 312, 1576):
    (row,) = (line for line in text.splitlines() if f"| {tflops} |" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[-1] == f"{hours(tflops):.1f}"
    compiled = float(cells[2].partition(" of ")[0])  # by `summarize --topology`, not by this test
    if tflops < 1000:
      assert cost["gigabytes"] < compiled < 4 * cost["gigabytes"]
