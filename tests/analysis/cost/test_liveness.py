"""Arrays that exist at the same time, compared with counts by hand."""

import jax
import jax.numpy as jnp
import pytest

from vidgan_jax.analysis.cost import in_place, liveness
from vidgan_jax.runtime.hardware import flops

SIZE = 64
PLAIN = liveness.Kind()
BYTES = 4 * SIZE * SIZE  # of an array


def peak(function, *shapes, kind=PLAIN):
  shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  return liveness.peak_bytes(jax.make_jaxpr(function)(*shapes).jaxpr, kind)


def arrays(function, count=1):
  """The peak as a number of arrays of SIZE x SIZE, of as many arguments."""
  return peak(function, *[(SIZE, SIZE)] * count) / BYTES


def test_an_array_lives_until_its_last_use():
  assert arrays(lambda x: x @ x) == 1
  # One product is read while the next is written, however long the chain is.
  assert arrays(lambda x: ((x @ x) @ x) @ x) == 2
  # The first product is read again at the end.
  assert arrays(lambda x: (y := x @ x) @ ((y @ x) @ x)) == 3


def test_elementwise_results_are_stored_only_as_operands():
  assert arrays(lambda x: jnp.sin(jnp.cos(x)).sum()) < 0.01
  # cos(x) and the product.
  assert arrays(lambda x: jnp.cos(x) @ x) == 2
  assert arrays(lambda x: jnp.sin(x @ x) @ x) == 2


def test_a_result_is_written_over_an_array_that_nothing_reads_afterwards():
  # The sine of the product takes the product's place.
  assert arrays(lambda x: jnp.sin(x @ x) @ x[:, 0]) == pytest.approx(1, abs=0.1)
  both = lambda x: jnp.sin(y := x @ x) @ x[:, 0] + y.sum()
  assert arrays(both) == pytest.approx(2, abs=0.1)


def test_a_source_that_is_read_again_stays():
  # The product, its sine, and the next product.
  assert arrays(lambda x: (jnp.sin(y := x @ x) @ x) @ y) == 3


def test_a_sum_is_stored_early_if_that_frees_its_terms():
  def function(x, w):
    terms = [(i * x) @ w for i in range(4)]
    total = terms[0] + terms[1] + terms[2] + terms[3]
    # The fullest moment is within the products that follow.
    y = w @ w
    for _ in range(3):
      y = (y @ w) @ (y @ w)
    return total @ y

  # The four terms; later the sum, y, two products and their product.
  assert arrays(function, 2) == 5


def test_new_state_takes_the_place_of_the_old():
  def step(weights, moment, x):
    gradient = jnp.einsum("bi,bj->ij", x, x @ weights)
    for _ in range(2):
      moment = 0.9 * moment + gradient
      weights = weights - moment
      gradient = jnp.einsum("bi,bj->ij", x, x @ weights)
    return weights, moment, gradient.sum()

  # x @ weights and the gradient.
  assert arrays(step, 3) == 2


def convolution(x, w, padding):
  return jax.lax.conv_general_dilated(
    x, w, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


@pytest.mark.parametrize(("padding", "copy"), [(((0, 1), (0, 1)), 17 * 17), (((1, 1), (1, 1)), 0)])
def test_cudnn_copies_for_unequal_padding(padding, copy):
  shapes = (1, 16, 16, 8), (2, 2, 8, 8)
  result = 8 * (16 + sum(padding[0]) - 1) ** 2
  function = lambda x, w: convolution(x, w, padding)
  assert peak(function, *shapes) == 4 * result
  assert peak(function, *shapes, kind=liveness.KINDS["gpu"]) == 4 * (result + 8 * copy)


def test_the_gradient_by_the_input_reads_no_copy():
  image = jax.ShapeDtypeStruct((1, 16, 16, 8), jnp.float32)

  def function(gradient, w):
    forward = lambda x: convolution(x, w, ((0, 1), (0, 1)))
    return jax.linear_transpose(forward, image)(gradient)

  shapes = (1, 16, 16, 8), (2, 2, 8, 8)
  assert peak(function, *shapes, kind=liveness.KINDS["gpu"]) == peak(function, *shapes)


def test_the_copy_is_kept_for_the_kernels_gradient():
  def loss(w, x):
    y = convolution(x, w, ((0, 1), (0, 1)))
    y = jnp.sin(convolution(y, w, ((0, 1), (0, 1))))
    return convolution(y, w, ((0, 1), (0, 1))).sum()

  gradient = jax.grad(loss)
  shapes = (2, 2, 8, 8), (4, 16, 16, 8)
  plain, with_copies = peak(gradient, *shapes), peak(gradient, *shapes, kind=liveness.KINDS["gpu"])
  # Copies of x, of the first result and of the sine.
  assert with_copies - plain == pytest.approx(3 * 4 * 4 * 17 * 17 * 8, rel=0.35)


def test_loops_count_what_exists_in_one_turn():
  def body(carry, _):
    return (carry @ carry) @ carry, None

  scan = lambda x: jax.lax.scan(body, x, length=5)[0]
  # Within the turn two products; the result of the loop.
  assert arrays(scan) == 3


def test_a_loop_writes_its_results_over_what_it_starts_from():
  def body(carry, _):
    return jnp.sin(carry), None

  scan = lambda x: jax.lax.scan(body, x, length=5)[0]
  loop = lambda x: jax.lax.while_loop(lambda y: y[0, 0] < 1, jnp.sin, x)
  for run in (scan, loop):
    assert arrays(lambda x, run=run: run(x @ x)) == 1
    # The product is read again after the loop.
    assert arrays(lambda x, run=run: (y := x @ x) @ run(y)) == 3


def test_a_loop_does_not_write_over_its_constants():
  def run(x):
    y = x @ x
    return jax.lax.scan(lambda c, _: (jnp.sin(c) @ y, None), y, length=5)[0]

  # y, the result, and within a turn the product; the sine takes the place of what is carried.
  assert arrays(run) == 3


def limited(w):
  """Small changes of w in one branch, none in the other."""
  return jax.lax.cond(w[0, 0] > 0, lambda w: jnp.clip(w, -1, 1), lambda w: w, w)


def test_a_condition_writes_its_results_over_what_it_reads():
  close = lambda number: pytest.approx(number, abs=0.1)
  assert arrays(lambda x: limited(x @ x)) == close(1)
  assert arrays(lambda x: (y := x @ x) @ limited(y)) == close(3)  # y is read again
  # Operands of another size are no place for the result.
  wide = lambda x: jnp.concatenate([x, x], axis=1).T @ x
  assert arrays(lambda x: jax.lax.cond(x[0, 0] > 0, wide, lambda x: 2 * wide(x), x @ x)) > 4


def test_branches_write_over_operands_that_nothing_reads_afterwards():
  def branch(a, b):
    return ((jnp.sin(a) @ jnp.cos(b)) @ jnp.ones(SIZE)).sum()

  choose = lambda a, b: jax.lax.cond(a[0, 0] > 0, branch, lambda a, b: a.sum(), a, b)
  close = lambda number: pytest.approx(number, abs=0.1)
  # The sine, the cosine and their product. XLA assigns as many (its memory_analysis on CPUs).
  assert arrays(choose, 2) == close(3)

  def run(a, b, again):
    a, b = a @ a, b @ b
    return choose(a, b) + (a @ b if again else 0)

  assert arrays(lambda a, b: run(a, b, True), 2) == close(5)
  assert arrays(lambda a, b: run(a, b, False), 2) == close(3)  # over the operands

  def twice(a):  # one operand in both places: the sine may be written over it, the cosine not
    a = a @ a
    return choose(a, a)

  assert arrays(twice) == close(4)


def test_the_results_of_a_condition_count_once():
  pick = lambda *results: lambda x: jax.lax.cond(x[0, 0] > 0, *results, x)
  assert arrays(pick(lambda x: x @ x, lambda x: x)) == pytest.approx(1, abs=0.1)
  two = pick(lambda x: (x @ x, x @ (x + 1)), lambda x: (x, x))
  assert arrays(two) == pytest.approx(3, abs=0.1)  # and the sum


def test_new_state_passes_through_a_condition():
  def update(w, g):
    w = limited(w - g @ g)
    return w, ((g @ g) @ (g.T @ g)).sum()

  # Only the three products of the second result: neither the state nor its gradient.
  assert arrays(update, 2) == pytest.approx(3, abs=0.1)

  def with_another(w, g, v):
    pick = lambda w, v: jnp.clip(w, v[:, :1], 1)
    return jax.lax.cond(w[0, 0] > 0, pick, lambda w, v: w, w - g @ g, 2 * v), v.sum()

  # 2 * v is twice as large, and no state; the gradient is gone by then.
  shapes = [(SIZE, SIZE)] * 2 + [(SIZE, 2 * SIZE)]
  assert peak(with_another, *shapes) / BYTES == pytest.approx(2, abs=0.1)

  def several(w, g):
    rs = [jax.lax.cond(w[0, 0] > 0, lambda w, i=i: w + i, lambda w: w, w) for i in range(4)]
    return w - sum(rs), (rs[0] @ rs[1] @ rs[2] @ rs[3]).sum()

  assert arrays(several, 2) > 4  # all results exist at one time; w itself is read again


def test_what_is_read_again_is_copied_before_a_slice_is_replaced():
  write = lambda index, x: jax.lax.dynamic_update_slice_in_dim(x, x[:1] + 1, index, 0)
  # The copy, and the product.
  assert arrays(lambda x: x @ write(3, x)) == pytest.approx(2, abs=0.1)
  assert arrays(lambda x: x @ (x @ write(3, x))) == pytest.approx(2, abs=0.1)
  in_loop = lambda x: jax.lax.fori_loop(0, 9, lambda i, y: y @ write(i, y), x @ x)
  # What the loop carries, and within a turn the copy and the product.
  assert arrays(in_loop) == pytest.approx(3, abs=0.1)
  constant = lambda x: jax.lax.fori_loop(0, 9, lambda i, y: y @ write(i, x), x @ x)
  assert arrays(constant) == pytest.approx(3, abs=0.1)


def test_slices_are_replaced_in_place():
  def write(index, buffer):
    row = jax.lax.dynamic_slice_in_dim(buffer, index, 1)
    return jax.lax.dynamic_update_slice_in_dim(buffer, 2 * row, index, 0)

  loop = lambda x: jax.lax.fori_loop(0, SIZE, write, x)
  assert arrays(lambda x: loop(x @ x)) == pytest.approx(1, abs=0.1)
  assert arrays(lambda x: write(3, x @ x)) == pytest.approx(1, abs=0.1)
  # Two arrays that are both read at the end.
  assert arrays(lambda x: (y := x @ x) @ loop(y)) == 3
  assert arrays(lambda x: (y := x @ x) @ write(3, y)) == 3


@pytest.mark.parametrize(
  ("carried", "inputs", "outputs"), [(2, 1, 2), (1, 0, 1), (1, 2, 0), (0, 1, 1)]
)
def test_the_carry_of_a_scan_is_found_without_names_of_parameters(carried, inputs, outputs):
  """Two constants come before it."""
  one, two = jnp.ones(3), jnp.ones((5, 2))

  def step(carry, x):
    total = one.sum() + two.sum() + sum(jnp.sum(leaf) for leaf in jax.tree.leaves((carry, x)))
    return jax.tree.map(lambda leaf: leaf + total, carry), (total,) * outputs

  carry = tuple(jnp.ones((4,) * n) for n in range(carried))  # a scalar and a vector
  xs = tuple(jnp.ones((7, *(4,) * n)) for n in range(inputs))
  jaxpr = jax.make_jaxpr(lambda c, x: jax.lax.scan(step, c, x, length=7))(carry, xs).jaxpr
  (scan,) = [e for e in jaxpr.eqns if e.primitive.name == "scan"]
  (body,) = flops.inner_jaxprs(scan)
  constants = len(scan.invars) - carried - inputs
  assert constants == 2
  assert in_place._scan_carry(scan, body) == range(constants, constants + carried)


def test_rematerialisation_lowers_the_peak():
  def layers(x, w, wrap):
    block = wrap(lambda x: jnp.sin(jnp.sin(jnp.sin(x @ w) @ w) @ w) @ w)
    for _ in range(6):
      x = block(x)
    return x.sum()

  shapes = (1024, 16), (16, 16)
  peaks = [
    peak(jax.grad(lambda w, x, wrap=wrap: layers(x, w, wrap)), *shapes[::-1])
    for wrap in (lambda f: f, jax.checkpoint)
  ]
  assert peaks[1] < 0.7 * peaks[0]


def test_what_is_cheap_is_computed_again_where_memory_is_short():
  def function(x, w):
    y = x @ w
    kept = jnp.sin(y)  # read now and at the end; y exists at the end too
    z = kept @ w
    for _ in range(6):
      z = (z @ w) @ (z @ w)
    return (z @ kept) @ y

  shapes = [jax.ShapeDtypeStruct((SIZE, SIZE), jnp.float32)] * 2
  jaxpr = jax.make_jaxpr(function)(*shapes).jaxpr
  least, most = liveness.least_bytes(jaxpr, PLAIN)
  # y, its sine, z, two products; computed again, the sine does not exist within the loop.
  assert (least / BYTES, most / BYTES) == (4, 5)
  assert most == liveness.peak_bytes(jaxpr, PLAIN)


def test_what_needs_more_than_it_frees_is_kept():
  def function(x, w):
    kept = jnp.sin(x @ w) + (w @ x)  # the two products would have to stay for it
    z = kept @ w
    for _ in range(6):
      z = (z @ w) @ (z @ w)
    return z @ kept

  shapes = [jax.ShapeDtypeStruct((SIZE, SIZE), jnp.float32)] * 2
  least, most = liveness.least_bytes(jax.make_jaxpr(function)(*shapes).jaxpr, PLAIN)
  assert least == most


def test_products_lie_in_tiles_as_they_are_read():
  """A merged product fills its tiles. With its axes apart, 16 of 128 columns are used."""

  def function(x, w):
    y = (x.reshape(-1, 16) @ w).reshape(x.shape)
    return (y * 2).sum()

  tpu = liveness.KINDS["tpu"]
  shape = (8, 8, 12, 16)
  scalar = 4
  assert peak(function, shape, (16, 16), kind=tpu) == 8 * 8 * 16 * 128 * 4 + scalar
  assert peak(function, shape, (16, 16)) == 8 * 8 * 12 * 16 * 4 + scalar


def loop_over_clips(step, nested=0):
  """The peak of a loop over slices with 64 channels and 128 columns, in arrays of all of them."""
  shape = (8, 4, 128, 64)

  def function(x, w):
    y = jnp.einsum("abcd,de->abce", x, w)
    turn = lambda i, y: jax.lax.dynamic_update_slice_in_dim(
      y, step(jax.lax.dynamic_slice_in_dim(y, i, 1), w), i, 0
    )
    run = lambda y: jax.lax.fori_loop(0, 8, turn, y)
    for _ in range(nested):
      run = lambda y, inner=run: jax.lax.fori_loop(0, 3, lambda i, y: inner(y), y)
    return jnp.sum(run(y))

  return peak(function, shape, (64, 64), kind=liveness.KINDS["tpu"]) / (4 * 8 * 4 * 128 * 64)


def test_a_loop_without_products_copies_what_lies_otherwise():
  """With the width in the columns, nothing is padded; 64 channels fill half of the columns."""
  once = loop_over_clips(lambda y, w: jnp.sin(y))
  assert once == pytest.approx(3 + 2 / 8, abs=0.01)  # the product, its padded copy, a padded slice
  assert loop_over_clips(lambda y, w: y @ w) == pytest.approx(1 + 2 / 8, abs=0.2)
  # The inner loop finds the order that it needs.
  assert loop_over_clips(lambda y, w: jnp.sin(y), nested=2) == pytest.approx(once, abs=0.01)


def bounds(function):
  shapes = [jax.ShapeDtypeStruct((SIZE, SIZE), jnp.float32)] * 2
  least, most = liveness.least_bytes(jax.make_jaxpr(function)(*shapes).jaxpr, PLAIN)
  return least / BYTES, most / BYTES


def test_what_is_computed_again_keeps_what_it_is_computed_from():
  def function(x, w):
    y = x @ w
    kept = jnp.sin(y)
    z = kept @ w
    for _ in range(10):
      z = (z @ w) @ (z @ w)
    z = z @ y  # y is read for the last time, if the sine is not computed again at the end
    for _ in range(10):
      u = z @ w
      z = ((z @ w) @ (z @ w)) @ u
    return z @ kept

  assert bounds(function) == (5, 5)


def test_what_is_read_soon_again_is_not_computed_again():
  def function(steps, x, w):
    y = x @ w
    kept = jnp.sin(y)
    z = kept @ w
    for _ in range(steps):
      z = (z @ w) @ (z @ w)
    return (z @ kept) @ y

  near, far = (bounds(lambda x, w, n=n: function(n, x, w)) for n in (2, 6))
  assert near == (5, 5) and far == (4, 5)


def test_only_axes_in_front_of_the_channels_are_taken_apart():
  def function(x, w):
    y = (x.reshape(-1, 128) @ w).reshape(-1, 2, 64)  # the columns are taken apart here
    return (y * 2).sum()

  shape = (64, 128)
  assert peak(function, shape, (128, 128), kind=liveness.KINDS["tpu"]) == 4 * 64 * 128 + 4
