"""Scores of a run in a bucket are added to the files in the bucket."""

import json
import pathlib

import pytest

from tests import fake_gcs, runs
from tests.evaluation.test_cli import Stream
from vidgan_jax.evaluation import cli, evaluator
from vidgan_jax.evaluation.protocols import registry as protocols
from vidgan_jax.evaluation.report import page
from vidgan_jax.runtime.buckets import staged
from vidgan_jax.sampling import run as sampling

RUN = "gs://bucket/run"


@pytest.fixture
def evaluate(bucket, protocol, stand_in, lean_config, monkeypatch, tmp_path):
  """A function (**fields of `Request`) that evaluates a run in a bucket; returns results.json."""
  monkeypatch.setattr(protocols, "all_protocols", lambda: {"tiny": protocol})
  network = stand_in(class_names=tuple("abcdefgh"))
  monkeypatch.setattr(evaluator, "load_extractor", lambda name, path=None: network)
  monkeypatch.setattr(page, "write", lambda content, path, *clips, **more: path)  # slow
  monkeypatch.setenv("VIDGAN_JAX_REFERENCES", str(tmp_path / "references"))
  folder = pathlib.Path(staged.open_folder(RUN, "--workdir"))
  folder.mkdir(parents=True)
  runs.write_run(folder, lean_config(**{"data.num_examples": 70}), ())
  (folder / "data.json").unlink()  # it names no classes
  staged.push()

  def run_evaluation(**fields):
    fake_gcs.forget_copies()  # as on another machine
    request = cli.Request(**{"protocol": "tiny", "workdir": RUN, **fields})
    cli.fulfil(request, cli.Opener(sampling.load, Stream), report=lambda line: None)
    return json.loads(bucket.read("run/evaluation/tiny/results.json"))

  return run_evaluation


def test_scores_in_a_bucket(evaluate, bucket):
  content = evaluate(checkpoint=2)
  assert content["run"] == {"workdir": RUN, "name": "run"}
  assert {record["step"] for record in content["records"]} == {2}
  assert {record["step"] for record in evaluate()["records"]} == {2, 4}
  assert not [name for name in bucket.names() if name.endswith(".lock")]
