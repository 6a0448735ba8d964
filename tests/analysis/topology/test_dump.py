"""What is read from a compiler's dump, on short texts in the form that XLA writes."""

import pytest

from vidgan_jax.analysis.cost.collectives import collectives_of_text
from vidgan_jax.analysis.topology import buffers
from vidgan_jax.analysis.topology.layers import Layer, Sources, layer

ASSIGNMENT = """BufferAssignment:
allocation 0: size 400, parameter 1, shape |f32[100]| at ShapeIndex {}, maybe-live-out:
 value: <1 param.1 @0> (size=400,offset=0): f32[100]{0}
 value: <9 add.9 @0> (size=400,offset=0): f32[100]{0}
allocation 1: size 512, parameter 0, shape |u8[10]| at ShapeIndex {}:
 value: <2 param.0 @0> (size=512,offset=0): u8[10]{0:T(512)}
allocation 2: size 512, maybe-live-out:
 value: <3 scalar.3 @0> (size=512,offset=0): f32[]{:T(128)}
allocation 3: size 64, constant:
 value: <4 constant.4 @0> (size=64,offset=0): f32[16]{0}
allocation 4: size 8, thread-local:
 value: <5 inner.5 @0> (size=8,offset=0): f32[2]{0}
allocation 5: size 5000, preallocated-temp:
 value: <6 early.6 @0> (size=3000,offset=0): bf16[1500]{0}
 value: <7 late.7{1} @0> (size=2048,offset=0): bf16[8,64]{1,0:T(8,128)(2,1)}
 value: <8 beside.8 @0> (size=1600,offset=3200): f32[400]{0}
 value: <10 while.10{0} (phi) @0> (size=1600,offset=3200): f32[400]{0}
 value: <11 fused.11 @0> (size=4000,offset=0): f32[1000]{0}
allocation 6: size 9000, color 1, preallocated-temp:
 value: <12 vector.12 @1> (size=9000,offset=0): f32[2250]{0:T(1024)S(1)}
allocation 7: size 70000, color 5, preallocated-temp:
 value: <13 host.13 @5> (size=70000,offset=0): f32[17500]{0:S(5)}
"""
RANGES = """HloLiveRange (max 30):
  InstructionSequence:
    0:param.1
  BufferLiveRange:
    param.1{}:0-30
    early.6{}:2-4
    late.7{1}:5-9
    beside.8{}:6-8
    while.10{0}:7-9
    vector.12{}:0-30
  Live ranges at 4 (peak):
    early.6{}: 3000 bytes (cumulative: 3000 bytes)
"""


def test_memory_is_read_from_a_dump():
  memory = buffers.read(ASSIGNMENT, RANGES, "tpu")
  assert (memory.arguments, memory.outputs) == (912, 512)  # a replaced argument is no output
  assert (memory.temporaries, memory.constants) == (5000, 64)
  assert memory.peak == 912 + 512 + 5000 + 64
  temporary = [(b.instruction, b.size) for b in memory.buffers if b.use == "temporary"]
  # At instruction 6, not at 4. At 7 there is no more, because the loop's state has the same place.
  assert temporary == [("late.7", 2048), ("beside.8", 1600)]
  late = next(b for b in memory.buffers if b.instruction == "late.7")
  assert (late.content, late.shape) == (8 * 64 * 2, "bf16[8,64]")
  assert [b.size for b in memory.buffers] == [2048, 1600, 512, 512, 400]


def test_other_memories_of_a_device_count_on_gpus_alone():
  """A TPU's second memory is its vector memory, a GPU's one for collectives; 5 is the host's."""
  assert buffers.read(ASSIGNMENT, RANGES, "gpu").temporaries == 5000 + 9000


@pytest.mark.parametrize(
  ("source", "expected"),
  [
    (
      "jit(__call__)/jvp()/shard_map/Generator/block0/norm1/psum_invariant",
      Layer("Generator/block0/norm1", "psum_invariant"),
    ),
    (
      "jit(__call__)/transpose(jvp(Generator))/Generator/block0/conv1/conv_general_dilated",
      Layer("Generator/block0/conv1", "conv_general_dilated", backward=True),
    ),
    (
      "jit(f)/transpose(jvp())/checkpoint/rematted_computation/Discriminator/jit(relu)/max",
      Layer("Discriminator", "max", backward=True, recomputed=True),
    ),
    ("jit(f)/while/body/closed_call/Generator/rnn/add", Layer("Generator/rnn", "add")),
    ("jit(f)/jvp(...rc,...c->...r)/dot_general", Layer("", "dot_general")),
    ("state.params['a/b']['kernel']", Layer("state.params['a/b']['kernel']")),
    ("", Layer("")),
  ],
)
def test_layers_are_read_from_names(source, expected):
  assert layer(source) == expected


MODULE = r"""HloModule jit_f, is_scheduled=true

%fused.1 (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %add.1 = f32[8]{0} add(%p, %p), metadata={op_name="jit(f)/Generator/add" stack_frame_id=1}
}

%outer.6 (q: f32[8]) -> f32[8] {
  ROOT %nested.6 = f32[8]{0} fusion(%q), kind=kLoop, calls=%fused.1
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0), metadata={op_name="state[\'kernel\']"}
  %fusion.2 = f32[8]{0} fusion(%x), kind=kLoop, calls=%fused.1
  %copy.3 = f32[8]{0} copy(%fusion.2)
  %fusion.7 = f32[8]{0} fusion(%x), kind=kOutput, calls=%outer.6
  %other.4 = f32[8]{0} negate(%copy.3)
  ROOT %sub.5 = f32[8]{0} subtract(%copy.3, %x), metadata={op_name="jit(f)/sub"}
}
"""


def test_operations_without_a_name_take_that_of_what_they_call_or_copy():
  sources = Sources(MODULE)
  assert sources.of("x") == "state['kernel']"
  assert sources.of("sub.5") == "jit(f)/sub"
  assert sources.of("fusion.2") == sources.of("copy.3") == "jit(f)/Generator/add"
  assert sources.of("fusion.7") == "jit(f)/Generator/add"
  assert sources.of("other.4") == sources.of("unknown.8") == ""


# The forms that libtpu 0.0.42 gives to an asynchronous all-gather and to a reduce-scatter, and XLA
# for GPUs to others. Types are shortened.
ASYNCHRONOUS = """HloModule jit_f
%fused.10 (p.0: bf16[512,64]) -> (bf16[512,64], bf16[2048,64], u32[]) {
  %all-gather.19 = bf16[2048,64]{1,0:T(8,128)(2,1)} all-gather(%p.0), channel_id=1
  ROOT %c = (bf16[512,64], u32[]) custom-call(%p.0), custom_call_target="AsyncCollectiveStart"
}
%async_collective_fusion.9 (p.1: bf16[512,64]) -> (bf16[512,64], bf16[2048,64]) {
  %all-gather.15 = bf16[2048,64]{1,0:T(8,128)(2,1)S(1)} all-gather(%p.1), channel_id=1
  ROOT %tuple.9 = (bf16[512,64], bf16[2048,64]) tuple(%p.1, %all-gather.15)
}
%fused.9 (p.2: bf16[512,64]) -> bf16[2048,64] {
  %all-gather.17 = bf16[2048,64]{1,0:T(8,128)(2,1)} all-gather(%p.2), channel_id=1
  ROOT %d = bf16[2048,64] custom-call(%all-gather.17), custom_call_target="AsyncCollectiveDone"
}
%all-reduce-scatter.2 (input: f32[2048,64]) -> f32[528,64] {
  %all-reduce.1 = f32[2112,64]{1,0:T(8,128)} all-reduce(%pad), channel_id=2, to_apply=%sum
  ROOT %dynamic-slice.1 = f32[528,64]{1,0:T(8,128)} dynamic-slice(%all-reduce.1, %i, %zero)
}
%body.1 (state: f32[16]) -> f32[16] {
  ROOT %all-reduce.7 = f32[16]{0} all-reduce(%state), to_apply=%sum, metadata={op_name="in a loop"}
}
ENTRY %main (x: bf16[512,64]) -> bf16[2048,64] {
  %start = (bf16[512,64], bf16[2048,64], u32[]) fusion(%x), kind=kCustom, calls=%fused.10
  %fusion.9 = (bf16[512,64], bf16[2048,64]) fusion(%x), calls=%async_collective_fusion.9
  %done = bf16[2048,64] fusion(%x), kind=kCustom, calls=%fused.9
  %fusion = f32[528,64]{1,0:T(8,128)} fusion(%y), kind=kCustom, calls=%all-reduce-scatter.2
  %while.1 = f32[16]{0} while(%z), condition=%cond.1, body=%body.1
  %ag = (bf16[8]{0}, bf16[64]{0}) all-gather-start(%v), dimensions={0}
  %agd = bf16[64]{0} all-gather-done(%ag)
  %ag2 = ((f32[8]{0}, bf16[1,2]{1,0}), (f32[64]{0}, bf16[8,2]{1,0})) all-gather-start(%v, %w)
  %ar = (f32[3]{0}, /*index=1*/f32[5]{0}) all-reduce-start(%v, %w), to_apply=%sum
  %ard = (f32[3]{0}, f32[5]{0}) all-reduce-done(%ar)
}
"""


def test_an_asynchronous_collective_is_listed_once():
  listed = collectives_of_text(ASYNCHRONOUS)
  assert [(c.kind, c.bytes) for c in listed] == [
    ("all-gather", 2048 * 64 * 2),
    ("reduce-scatter", 528 * 64 * 4),
    ("all-reduce", 16 * 4),
    ("all-gather", 64 * 2),
    ("all-gather", 64 * 4 + 16 * 2),
    ("all-reduce", 8 * 4),
  ]
  assert listed[2].source == "in a loop"
  assert listed[4].arrays == (("f32", (64,)), ("bf16", (8, 2)))


@pytest.mark.parametrize(
  ("line", "group", "sent"),
  [
    ("f32[64] all-reduce(%x), replica_groups={{0,2},{1,3}}, to_apply=%add", 2, 256),
    ("f32[64] all-reduce(%x), replica_groups={}, to_apply=%add", 8, 448),
    ("f32[64] all-reduce(%x), replica_groups=mesh['a'=2,'b'=4] {'b'}, to_apply=%add", 4, 384),
    ("f32[64] all-reduce(%x), replica_groups=mesh['a'=8] {'a':(2)2}, to_apply=%add", 2, 256),
    ("(f32[64], f32[64]) all-gather-start(%x), replica_groups={{0,1},{2,3}}", 2, 128),
    ("f32[64] all-gather(%x), replica_groups=[2,4]<=[8], dimensions={0}", 4, 192),
    ("f32[64] reduce-scatter(%x), replica_groups=[2,4]<=[4,2]T(1,0), to_apply=%add", 4, 768),
    ("f32[64] all-to-all(%x), replica_groups={{0,1,2,3,4,5,6,7}}", 8, 224),
    ("f32[64] collective-permute(%x), source_target_pairs={{0,1}}", 8, 256),
  ],
)
def test_what_a_device_sends_follows_from_its_group(line, group, sent):
  """64 numbers of 4 bytes: a part of them, twice in an all-reduce; all parts of the others."""
  module = (
    f"HloModule m, num_partitions=8\n\nENTRY %main (x: f32[64]) -> f32[64] {{\n  %r = {line}\n}}"
  )
  (one,) = collectives_of_text(module)
  assert (one.group, one.sent_bytes) == (group, sent)


def test_a_fused_reduce_scatter_sends_the_parts_of_the_others():
  module = """HloModule m, num_partitions=8

%all-reduce-scatter.1 (p: f32[64]) -> f32[16] {
  %r = f32[64] all-reduce(%p), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  ROOT %s = f32[16] dynamic-slice(%r, %i), dynamic_slice_sizes={16}
}

ENTRY %main (x: f32[64]) -> f32[16] {
  ROOT %f = f32[16] fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1
}
"""
  (one,) = collectives_of_text(module)
  assert (one.kind, one.group, one.bytes, one.sent_bytes) == ("reduce-scatter", 4, 64, 192)
