"""TGANv2 against NumPy in float64, the released numbers of parameters, and wrong configs."""

import dataclasses
import itertools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.analysis.cost import penalties, summary
from vidgan_jax.models import registry, switches, tgan_v2
from vidgan_jax.models.contract import Context, Side
from vidgan_jax.ops import cpu
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling import generation

KEY = jax.random.key(0)
BATCH, FRAMES, CLASSES = 4, 4, 3


@pytest.fixture(scope="session")
def small(load_config):
  """A function (**changes) that returns a config of 8x8 pixels, three levels and no classes."""

  def build(**changes):
    config = load_config("tgan_v2", "shapes,runlocal")
    fields = {
      "precision": "float64",
      "batch_size": BATCH,
      "model.num_classes": 0,
      "model.resolution": 8,
      "model.frames": FRAMES,
      "model.latent_dim": 3,
      "model.generator.channels": 2,
      "model.generator.multipliers": (2, 1, 1),
      "model.generator.lstm_channels": 2,
      "model.discriminator.multipliers": (1, 2),
    }
    with config.unlocked():
      schema.set_fields(config, fields | changes)
    return config

  return build


def drawn(randomized, gan):
  """Random variables of all networks, gains of batch normalisation about 1."""
  variables = randomized(jax.eval_shape(lambda: gan.init(KEY)))
  shift = lambda path, a: a + 1 if "gain" in jax.tree_util.keystr(path) else a
  return jax.tree_util.tree_map_with_path(shift, variables)


class TestSizes:
  @pytest.mark.parametrize(
    ("row", "generator", "gflop", "deep_gflop"),
    [
      ("ucf101_192x16", 88_032_460, 51.2, 21.6),
      ("ucf101_192x16_ch16", 81_726_572, 30.7, 21.6),
      ("faceforensics_256x16", 89_874_636, 91.1, 38.2),
    ],
  )
  def test_parameters_are_the_released_ones(self, load_config, row, generator, gflop, deep_gflop):
    gan = registry.build(load_config("tgan_v2", row), platform="gpu", ops="plain")
    variables = summary.abstract_variables(gan)
    counts = {name: n["total"] for name, n in summary.count_parameters(variables).items()}
    deep = {f"level{level}": 29_019_265 for level in range(1, 5)}
    assert counts == {"generator": generator, **deep}
    work = summary.forward_flops(gan, variables)
    assert work.pop("generator") / 1e9 == pytest.approx(gflop, rel=0.01)
    assert sum(work.values()) / 1e9 == pytest.approx(deep_gflop, rel=0.01)
    if gan.resolution == 192:
      # Per clip of the level: levels have 1/1, 1/2, 1/4 and 1/8 of the clips.
      each = [w * 2**level / 1e9 for level, w in enumerate(work.values())]
      assert each == pytest.approx([5.22, 10.14, 21.07, 48.41], rel=0.01)

  @pytest.mark.parametrize(
    ("row", "gflop"),
    [("ucf101_192x16", 89.5), ("ucf101_192x16_ch16", 40.5), ("faceforensics_256x16", 159.1)],
  )
  def test_work_of_sampling(self, load_config, row, gflop):
    from vidgan_jax.runtime.hardware import flops

    gan = registry.build(load_config("tgan_v2", row), platform="gpu", ops="plain")
    network = summary.abstract_variables(gan)["generator"]
    latents = jax.eval_shape(lambda: gan.latents(KEY, 1))
    run = lambda variables, latents: gan.generate(variables, latents, {}, KEY, False)[0]
    assert flops.count(run, network, latents) / 1e9 == pytest.approx(gflop, rel=0.01)

  @pytest.mark.parametrize(
    ("layers", "frames", "batch", "gmac"),
    [
      (0, True, True, (36.09, 144.34, 577.37, 2309.48)),
      (3, True, False, (36.09, 72.17, 172.19, 478.09)),
      (3, False, True, (36.09, 72.17, 144.34, 288.69)),
      (3, True, True, (36.09, 36.09, 43.05, 59.76)),
    ],
  )
  def test_work_of_the_released_discriminators(self, load_config, layers, frames, batch, gmac):
    """figure/gflops.tsv of pfnet-research/tgan2, 8 clips at 256 pixels, with padded single axes."""
    config = load_config("tgan_v2", "faceforensics_256x16").copy_and_resolve_references()
    changes = {
      "model.subsampling.layers": layers,
      "model.subsampling.frames": frames,
      "model.subsampling.batch": batch,
      "model.discriminator.pad_single_axis": True,
    }
    schema.set_fields(config, changes)
    gan = registry.build(config, platform="gpu", ops="plain")
    work = summary.forward_flops(gan, summary.abstract_variables(gan))
    del work["generator"]
    # Eight clips of so many FLOPs; a multiply-add is two.
    assert [w * 8 / 2e9 for w in work.values()] == pytest.approx(gmac, rel=3e-4)

  def test_r1_costs_four_forward_passes_of_a_network_of_relus(self, load_config):
    config = load_config("tgan_v2", "ucf101_192x16")
    gan = registry.build(config, platform="gpu", ops="plain")
    variables = summary.abstract_variables(gan)
    work = summary.forward_flops(gan, variables)
    forward = sum(work.values()) - work["generator"]
    counted = penalties.penalty_flops(gan, variables["discriminators"])
    assert counted == pytest.approx(4 * forward, rel=0.01)
    iteration = summary.iteration_flops(gan, work)
    assert summary.flops_per_clip(config) == iteration + counted
    with config.unlocked():
      config.r1.weight = 0.0
    assert summary.flops_per_clip(config) == iteration


def lstm(reference, p, x, frames):
  """The unit's equations; the input is zero after the first step."""
  h = c = np.zeros((*x.shape[:-1], p["state"]["kernel"].shape[2]))
  states = []
  for t in range(frames):
    of_input = x if t == 0 else np.zeros_like(x)
    gates = reference.convolve(of_input, p["input"]["kernel"], p["input"]["bias"])
    gates = gates + reference.convolve(h, p["state"]["kernel"])
    i, f, o, a = np.split(gates, 4, axis=-1)
    c = reference.sigmoid(f) * c + reference.sigmoid(i) * np.tanh(a)
    h = reference.sigmoid(o) * np.tanh(c)
    states.append(h)
  return np.stack(states, 1)


def normalised(reference, p, x, label):
  if label is None:
    gain, bias = p["unconditional"]["gain"], p["unconditional"]["bias"]
  else:
    gain, bias = p["gain"][label], p["bias"][label]
  return reference.relu(reference.batch_norm(x, gain, bias, "shared", 2e-5))


def generator(reference, p, z, label, offsets, *, levels=3, batch=True, frames=True):
  """The generator in training; `offsets` in time, one for each subsampling layer."""
  convolve = lambda q, x: reference.convolve(x, q["kernel"], q["bias"])
  width = p["lstm"]["input"]["kernel"].shape[2]
  x = z @ p["linear"]["kernel"] + p["linear"]["bias"]
  size = int(np.sqrt(x.shape[1] // width))
  x = lstm(reference, p["lstm"], x.reshape(len(z), size, size, width), FRAMES)
  count = sum(name.startswith("block") for name in p)
  samples = []
  for index in range(count):
    q = p[f"block{index}"]
    out = convolve(q["conv1"], reference.repeat(normalised(reference, q["norm1"], x, label)))
    out = convolve(q["conv2"], normalised(reference, q["norm2"], out, label))
    grown = reference.repeat(x)
    x = out + (convolve(q["shortcut"], grown) if "shortcut" in q else grown)
    level = index - count + levels
    if level >= 0:
      out = normalised(reference, p[f"norm{level + 1}"], x, label)
      samples.append(np.tanh(convolve(p[f"render{level + 1}"], out)))
      if level < len(offsets):
        x = x[:: 2 if batch else 1, offsets[level] if frames else 0 :: 2 if frames else 1]
        label = label if label is None or not batch else label[::2]
  return dict(zip(tgan_v2.level_names(levels), samples, strict=True))


class TestGenerator:
  @pytest.fixture(params=["plain", "cpu"])
  def ops(self, request, monkeypatch):
    monkeypatch.setattr(cpu, "_LEAST_WORK", {"few pixels": 0, "many pixels": 0})
    return request.param

  def test_samples_and_gradients_equal_numpy(
    self, x64, small, randomized, reference, assert_close, normal, ops
  ):
    """One offset in time for the whole batch at each layer; it is drawn anew from each key."""
    gan = registry.build(small(**{"model.num_classes": CLASSES}), ops=ops)
    network = drawn(randomized, gan)["generator"]
    z, label = normal((BATCH, 3)), np.array([0, 2, 1, 2])

    @jax.jit
    def run(params, key):
      variables = {**network, "params": params}
      samples, _ = gan.generate(variables, {"z": z}, {"label": label}, key, True)
      return sum(jnp.sum(jnp.sin(3 * s)) for s in samples.values()), samples

    seen = set()
    for seed in range(12):
      (_, samples), gradient = jax.value_and_grad(run, has_aux=True)(
        network["params"], jax.random.key(seed)
      )
      assert {n: s.shape for n, s in samples.items()} == {
        "level1": (4, 4, 2, 2, 3),
        "level2": (2, 2, 4, 4, 3),
        "clip": (1, 1, 8, 8, 3),
      }
      expected = {
        offsets: generator(reference, network["params"], z, label, offsets)
        for offsets in itertools.product((0, 1), repeat=2)
      }
      near = lambda a, b: np.max(np.abs(a["clip"] - b["clip"])) < 1e-9
      (offsets,) = [o for o, e in expected.items() if near(samples, e)]
      assert_close(samples, expected[offsets], 1e-10)
      seen.add(offsets)
      if seed == 0:
        self.check_gradient(reference, network["params"], gradient, z, label, offsets)
    assert len(seen) == 4

  @staticmethod
  def check_gradient(reference, params, gradient, z, label, offsets):
    """The gradient against central differences of the reference."""
    random = np.random.default_rng(1)
    scalar = lambda p: sum(
      np.sum(np.sin(3 * s)) for s in generator(reference, p, z, label, offsets).values()
    )
    for _ in range(3):
      way = jax.tree.map(lambda a: random.normal(size=a.shape), params)
      moved = [
        scalar(jax.tree.map(lambda a, d, s=sign: a + s * 1e-6 * d, params, way)) for sign in (1, -1)
      ]
      difference = (moved[0] - moved[1]) / 2e-6
      slope = sum(
        np.sum(g * d) for g, d in zip(*map(jax.tree.leaves, (gradient, way)), strict=True)
      )
      assert abs(difference - slope) < 1e-6 * max(1, abs(slope)) and abs(slope) > 1e-3

  @pytest.mark.parametrize("batch", [True, False])
  @pytest.mark.parametrize("frames", [True, False])
  def test_switches_of_subsampling(
    self, x64, small, randomized, reference, assert_close, normal, batch, frames
  ):
    changes = {"model.subsampling.batch": batch, "model.subsampling.frames": frames}
    changes["model.generator.shortcut"] = "where_width_changes"
    gan = registry.build(small(**changes))
    assert gan.batch_multiple == (4 if batch else 1)
    network, z = drawn(randomized, gan)["generator"], normal((BATCH, 3))
    assert "shortcut" not in network["params"]["block2"]  # 2 -> 2 channels
    samples, _ = jax.jit(lambda: gan.generate(network, {"z": z}, {}, KEY, True))()
    matches = 0
    for offsets in itertools.product((0, 1), repeat=2):
      expected = generator(
        reference, network["params"], z, None, offsets, batch=batch, frames=frames
      )
      matches += all(np.max(np.abs(samples[n] - e)) < 1e-9 for n, e in expected.items())
    assert matches == (1 if frames else 4)

  def test_sampling_subsamples_nothing_and_draws_the_last_level(
    self, x64, small, randomized, assert_close, normal
  ):
    """With the statistics of a batch that was not subsampled either."""
    whole = registry.build(small(**{"model.subsampling.layers": 0}))
    gan = registry.build(small())
    network, z = drawn(randomized, whole)["generator"], {"z": normal((BATCH, 3))}
    samples, reported = jax.jit(lambda: whole.generate(network, z, {}, KEY, True))()
    sampled, none = jax.jit(lambda: gan.generate({**network, **reported}, z, {}, KEY, False))()
    assert list(sampled) == ["clip"] and not none
    assert_close(sampled["clip"], samples["clip"], 1e-10)
    assert sampled["clip"].shape == (BATCH, FRAMES, 8, 8, 3)
    longer, _ = jax.jit(lambda: gan.generate({**network, **reported}, z, {}, KEY, False, 7))()
    assert longer["clip"].shape == (BATCH, 7, 8, 8, 3)
    assert_close(longer["clip"][:, :FRAMES], sampled["clip"], 1e-10)

  def test_standing_statistics_are_of_whole_batches_at_the_last_level(self, small):
    """In training mode the last level keeps one of four clips: a pass draws 64 to keep 16."""
    plain, seen = registry.build(small(precision="float32")), []

    class Recorder(tgan_v2.TganV2):
      def generate(self, *args):
        samples, reported = super().generate(*args)
        seen.append({name: len(sample) for name, sample in samples.items()})
        return samples, reported

    gan = Recorder(**{f.name: getattr(plain, f.name) for f in dataclasses.fields(plain)})
    network = jax.jit(gan.init)(KEY)["generator"]
    statistics = generation.standing_statistics(gan, network, KEY, Context(0), passes=2)
    assert seen == [{"level1": 64, "level2": 32, "clip": 16}]  # traced once
    same = jax.tree.map(jnp.shape, statistics) == jax.tree.map(jnp.shape, network)
    assert same and not np.array_equal(
      statistics["batch_stats"]["norm3"]["unconditional"]["mean"], 0
    )


def halved(x, pad_single):
  """Chainer's average_pooling_nd as the released blocks call it, on [B, T, H, W, C]."""
  for axis in (1, 2, 3):
    size = x.shape[axis]
    kernel, pad = 2 if size > 1 else 1, size % 2
    if size == 1 and not pad_single:
      pad = 0
    widths = [(0, 0)] * 5
    widths[axis] = (pad, pad)
    x = np.pad(x, widths)
    starts = range(0, size + 2 * pad - kernel + 1, kernel)
    x = np.stack([x.take(range(s, s + kernel), axis).mean(axis) for s in starts], axis)
  return x


def discriminator(reference, p, clip, label=None, pad_single=False):
  """Scores [B] of clips."""
  convolve = lambda q, x: reference.convolve(x, q["kernel"], q["bias"])
  x = clip
  for index in range(sum(name.startswith("block") for name in p)):
    q = p[f"block{index}"]
    out = convolve(q["conv1"], reference.relu(x) if index else x)
    out = convolve(q["conv2"], reference.relu(out))
    if index:
      x = halved(out, pad_single) + halved(convolve(q["shortcut"], x), pad_single)
    else:
      x = reference.average(out, (1, 2, 2)) + convolve(
        q["shortcut"], reference.average(x, (1, 2, 2))
      )
  hidden = reference.relu(x).sum((1, 2, 3))
  head = p["head"]
  score = hidden @ head["linear"]["kernel"][:, 0] + head["linear"]["bias"]
  return score if label is None else score + np.sum(head["embed"]["embedding"][label] * hidden, -1)


class TestDiscriminator:
  CHANGES: ClassVar = {"model.discriminator.multipliers": (1, 2, 1)}

  @pytest.mark.parametrize("pad_single", [True, False])
  @pytest.mark.parametrize("shape", [(2, 3, 12, 12, 3), (2, 1, 6, 10, 3), (2, 4, 4, 2, 3)])
  def test_scores_equal_numpy(
    self, x64, small, randomized, reference, assert_close, normal, shape, pad_single
  ):
    """Sizes 12 and 10 become 3 and 5 (odd) after two blocks; axes of 1 are padded by the fault."""
    changes = {**self.CHANGES, "model.discriminator.pad_single_axis": pad_single}
    changes["model.num_classes"] = CLASSES
    gans = [registry.build(small(**changes), ops=ops) for ops in ("plain", "folded")]
    network = drawn(randomized, gans[0])["discriminators"]["level1"]
    clip, label = normal(shape), np.array([2, 0])
    expected = discriminator(reference, network["params"], clip, label, pad_single)
    for gan in gans:
      run = jax.jit(
        lambda gan=gan: gan.discriminate("level1", network, {"clip": clip, "label": label}, KEY)[0]
      )
      assert_close(run(), expected, 1e-10)

  def test_hidden_width_is_that_of_the_input(self, x64, small):
    gan = registry.build(small(**self.CHANGES))
    params = summary.abstract_variables(gan)["discriminators"]["level1"]["params"]
    assert params["block1"]["conv1"]["kernel"].shape[-2:] == (2, 2)
    assert params["block1"]["conv2"]["kernel"].shape[-2:] == (2, 4)

  def test_r1_is_the_weighted_mean_over_all_levels(self, x64, small, randomized, reference, normal):
    """Gradients by the pixels by central differences of the NumPy discriminator."""
    config = small(**{"r1.weight": 0.5, "r1.reference_count": 30})
    gan = registry.build(config)
    networks = drawn(randomized, gan)["discriminators"]
    shapes = {"level1": (4, 4, 2, 2, 3), "level2": (2, 2, 4, 4, 3), "level3": (1, 1, 4, 4, 3)}
    views = {name: {"clip": normal(shape, i)} for i, (name, shape) in enumerate(shapes.items())}
    score = lambda name, view: gan.discriminate(name, networks[name], view, KEY)[0]
    parts = jax.jit(lambda: gan.penalties(score, views, {}, KEY, Context()))()
    squares = []
    for name, view in views.items():
      run = lambda clip, name=name: discriminator(reference, networks[name]["params"], clip)
      for clip in view["clip"]:
        slopes = []
        for pixel in np.ndindex(clip.shape):
          moved = np.stack([clip, clip])
          moved[0][pixel] += 1e-5
          moved[1][pixel] -= 1e-5
          up, down = run(moved)
          slopes.append((up - down) / 2e-5)
        squares.append(np.sum(np.square(slopes)))
    assert len(squares) == 7 and set(parts) == {f"r1_{name}" for name in shapes}
    assert sum(parts.values()) == pytest.approx(0.5 * 30 * np.mean(squares), rel=1e-6)

  def test_r1_differentiates_as_its_differences_say(
    self, x64, small, randomized, assert_gradient, normal, monkeypatch
  ):
    """The double backward pass of the form for CPUs, all convolutions taken for large ones."""
    monkeypatch.setattr(cpu, "_LEAST_WORK", {"few pixels": 0, "many pixels": 0})
    gan = registry.build(
      small(**{"r1.weight": 0.5, "model.levels": 1, "model.subsampling.layers": 0})
    )
    network = drawn(randomized, gan)["discriminators"]["level1"]
    view = {"level1": {"clip": normal((2, 2, 4, 4, 3))}}

    def penalty(params):
      variables = {**network, "params": params}
      score = lambda name, view: gan.discriminate(name, variables, view, KEY)[0]
      return sum(gan.penalties(score, view, {}, KEY, Context()).values())

    assert_gradient(penalty, (network["params"],))


def test_initial_kernels_have_the_distributions_of_the_paper(small):
  """Supplement A: Glorot in blocks, times sqrt(2) outside shortcuts; else Chainer's default."""
  gan = registry.build(small(**{"precision": "float32", "model.num_classes": CLASSES}))
  variables = jax.jit(gan.init)(KEY)
  networks = {"generator": variables["generator"], **variables["discriminators"]}
  seen = set()
  for path, kernel in jax.tree.leaves_with_path({n: v["params"] for n, v in networks.items()}):
    network, *names = (part.key for part in path)
    if names[-1] not in ("kernel", "embedding"):
      continue
    window = kernel.size // (kernel.shape[-2] * kernel.shape[-1])
    fans = window * (kernel.shape[-2] + kernel.shape[-1])
    uniform = None
    if names[0].startswith("block"):
      uniform = 6 if names[1] == "shortcut" else 12
    elif network != "generator":  # the head
      uniform = 6
    if uniform:
      expected, largest = np.sqrt(uniform / fans / 3), np.sqrt(uniform / fans)
      assert np.max(np.abs(kernel)) <= largest * 1.0001, path
    else:
      expected = (window * kernel.shape[-2]) ** -0.5
    if kernel.size > 100:
      assert np.std(kernel) == pytest.approx(expected, rel=3 / np.sqrt(kernel.size)), path
      seen.add((network == "generator", uniform))
  assert seen == {(True, 12), (True, None), (False, 12)}


class TestLosses:
  def test_savings_change_nothing_through_the_double_backward(
    self, x64, small, randomized, monkeypatch, normal
  ):
    """Losses with R1 and their gradients, of both sides, in the forms of CPUs and accelerators."""
    monkeypatch.setattr(cpu, "_LEAST_WORK", {"few pixels": 0, "many pixels": 0})
    context, label = Context(0), np.array([0, 1, 2, 1])
    results = []
    for ops in ("plain", "cpu", "folded"):
      config = small(**{"model.num_classes": CLASSES, "r1.weight": 0.5})
      gan = registry.build(config, ops=ops)
      variables = drawn(randomized, gan)
      clips = np.random.default_rng(0).integers(0, 256, (BATCH, FRAMES, 8, 8, 3), dtype=np.uint8)
      batch, latents = {"clip": clips, "label": label}, {"z": normal((BATCH, 3))}

      def loss(params, gan=gan, variables=variables, batch=batch, latents=latents):
        deep = params["discriminators"]
        run = lambda n, v: gan.discriminate(n, {"params": deep[n]}, v, KEY)[0]
        network = {**variables["generator"], "params": params["generator"]}
        fakes, _ = gan.generate(network, latents, {"label": label}, KEY, True)
        sides, views = [], []
        for samples in (gan.real_samples(KEY, batch, context), fakes):
          seen = gan.views(KEY, samples, {"label": label}, context)
          scores = {n: run(n, view) for n, view in seen.items()}
          sides.append(Side(inputs={}, samples=samples, scores=scores))
          views.append(seen)
        parts = gan.discriminator_losses(*sides, context) | gan.penalties(run, *views, KEY, context)
        parts |= {f"g_{n}": 0.3 * v for n, v in gan.generator_losses(*sides[::-1], context).items()}
        return sum(parts.values()), parts

      params = {"generator": variables["generator"]["params"]}
      params["discriminators"] = {n: v["params"] for n, v in variables["discriminators"].items()}
      results.append(jax.jit(jax.value_and_grad(loss, has_aux=True))(params))
    (plain, by_plain), *others = results
    largest = max(np.max(np.abs(g)) for g in jax.tree.leaves(by_plain))
    for values, gradients in others:
      for name, value in values[1].items():
        assert float(value) == pytest.approx(float(plain[1][name]), rel=1e-11)
      for got, want in zip(*map(jax.tree.leaves, (gradients, by_plain)), strict=True):
        # Biases in front of a batch normalisation have no gradient but rounding.
        scale = max(np.max(np.abs(want)), 1e-5 * largest)
        assert np.max(np.abs(got - want)) <= 1e-11 * scale

  def test_scores_of_all_levels_are_concatenated(self, x64, small, normal):
    gan = registry.build(small())
    sizes = {"level1": 4, "level2": 2, "level3": 1}
    real, fake = (
      Side({}, {}, {}, {n: normal((size,), seed + size) for n, size in sizes.items()})
      for seed in (0, 10)
    )
    every = lambda side: np.concatenate([side.scores[n] for n in sizes])
    softplus = lambda x: np.log1p(np.exp(x))
    parts = gan.discriminator_losses(real, fake, Context())
    assert set(parts) == {f"{n}_{side}" for n in sizes for side in ("real", "generated")}
    expected = np.mean(softplus(-every(real))) + np.mean(softplus(every(fake)))
    assert sum(parts.values()) == pytest.approx(expected, rel=1e-12)
    parts = gan.generator_losses(fake, real, Context())
    assert set(parts) == set(sizes)
    assert sum(parts.values()) == pytest.approx(np.mean(softplus(-every(fake))), rel=1e-12)

  def test_equation_7_sums_the_scores_of_each_clip(self, x64, small, normal):
    changes = {"model.subsampling.batch": False, "model.aggregation": "summed"}
    gan = registry.build(small(**changes))
    real, fake = (
      Side({}, {}, {}, {f"level{n}": normal((4,), seed + n) for n in (1, 2, 3)}) for seed in (0, 10)
    )
    softplus = lambda x: np.log1p(np.exp(x))
    total = lambda side: sum(side.scores.values())
    parts = gan.discriminator_losses(real, fake, Context())
    expected = {
      "real": np.mean(softplus(-total(real))),
      "generated": np.mean(softplus(total(fake))),
    }
    assert parts == pytest.approx(expected, rel=1e-12)
    assert gan.generator_losses(fake, real, Context()) == pytest.approx(
      {"clip": np.mean(softplus(-total(fake)))}, rel=1e-12
    )


class TestRealClips:
  def test_levels_are_subsampled_and_pooled_as_in_the_released_code(self, x64, small):
    """tgan2/datasets/multi_level.py, with the offsets that each clip has drawn."""
    gan = registry.build(small())
    clips = np.random.default_rng(0).integers(0, 256, (8, FRAMES, 8, 8, 3), dtype=np.uint8)
    seen = set()
    for seed in range(8):
      key = jax.random.key(seed)
      samples = gan.real_samples(key, {"clip": clips, "label": np.zeros(8, int)}, Context())
      offsets = np.asarray(gan.time_offsets(key, 8))
      seen |= {tuple(row) for row in offsets[::4].tolist()}
      pool = lambda x, k: x.reshape(x.shape[0], x.shape[1] // k, k, x.shape[2] // k, k, 3).mean(
        (2, 4)
      )
      for number in range(8):
        x = clips[number] / 127.5 - 1
        first, second = offsets[number]
        expected = {"level1": (x, 1, 4), "level2": (x[first::2], 2, 2)}
        expected["clip"] = (x[first::2][second::2], 4, 1)
        for name, (frames, thinned, k) in expected.items():
          if number % thinned == 0:
            got = samples[name][number // thinned]
            np.testing.assert_allclose(got, pool(frames, k), atol=1e-12)
    assert len(seen) == 4

  def test_labels_are_thinned_as_the_clips_are(self, x64, small):
    gan = registry.build(small(**{"model.num_classes": 8}))
    clips = jnp.zeros((8, FRAMES, 8, 8, 3), jnp.uint8)
    batch = {"clip": clips, "label": jnp.arange(8)}
    samples = gan.real_samples(KEY, batch, Context())
    views = gan.views(KEY, samples, gan.real_inputs(KEY, batch, Context()), Context())
    labels = {name: view["label"].tolist() for name, view in views.items()}
    assert labels == {"level1": list(range(8)), "level2": [0, 2, 4, 6], "level3": [0, 4]}
    for view in views.values():
      assert len(view["label"]) == len(view["clip"])


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"model.resolution": 12}, "resolution 12 must be a multiple of 8"),
    ({"model.levels": 4}, "levels is 4, must be at most the number of generator.multipliers"),
    ({"model.subsampling.layers": 3}, "layers is 3, must be below the number of levels, 3"),
    ({"model.frames": 6}, "frames 6 cannot be halved 2 times"),
    ({"model.aggregation": "summed"}, "aggregation summed needs one score of each clip"),
    ({"model.discriminator.multipliers": ()}, "discriminator.multipliers is empty"),
  ],
)
def test_sizes_that_do_not_fit_are_refused(x64, small, changes, words):
  with pytest.raises(UserError, match=words):
    registry.build(small(**changes))


def test_every_row_is_allowed_and_counts_the_clips_of_r1(load_config):
  """Table 1: clips at the four levels, over all GPUs; R1 sums over those of one GPU."""
  for name in load_config.names("tgan_v2"):
    config = load_config("tgan_v2", name)
    switches.check(config)
    gan = registry.build(config)
    assert config.batch_size % gan.batch_multiple == 0, name
  rows = {"": (64, 30), "_batch256": (256, 30), "_readme": (128, 128)}
  rows |= {"_frames_only": (8, 8), "_batch_only": (8, 5), "_no_subsampling": (4, 4)}
  for row, expected in rows.items():
    config = load_config("tgan_v2", f"ucf101_192x16{row}")
    assert (config.batch_size, config.r1.reference_count) == expected
