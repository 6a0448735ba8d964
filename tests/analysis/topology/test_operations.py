"""Convolutions and moves are counted in lines that real compilers have written."""

from vidgan_jax.analysis.topology import operations

GPU = """\
  %cudnn-conv.1 = (bf16[2,4,4,32]{3,2,1,0}, u8[0]{0}) custom-call(%a, %b), window={size=1x1}, \
dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBiasActivationForward", metadata={}
  %cudnn-conv.2 = (bf16[2,4,4,32]{3,2,1,0}, u8[0]{0}) custom-call(%a, %b), window={size=3x3}, \
dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardFilter"
  ROOT %cudnn-conv.3 = (bf16[2,8,4,8,8]{4,3,2,1,0}, u8[0]{0}) custom-call(%a, %b), \
window={size=3x3x3}, dim_labels=bf012_oi012->bf012, custom_call_target="__cudnn$convForward"
  %dot.4 = (bf16[2,8]{1,0}, s8[64]{0}) custom-call(%a, %b), \
custom_call_target="__cublas$lt$matmul"
  %conv.5 = f32[2,4]{1,0} get-tuple-element(%cudnn-conv.1), index=0
  %transpose.6 = f32[16,8,1,1,1]{4,3,2,1,0} transpose(%p.1), dimensions={4,3,0,1,2}
  ROOT %transpose.7 = bf16[2,3]{1,0} transpose(%p.2), dimensions={1,0}, \
metadata={op_name="jit(f)/transpose(jvp())/copy(x)"}
  %copy.8 = f32[8,64]{1,0} copy(%transpose.7)
"""
AGAIN = """\
  %loop_fusion.13 = (bf16[8,4]{1,0}, f32[2]{0}) fusion(%a), kind=kLoop, calls=%fused
  %fusion = f32[3]{0} fusion(%a), calls=%f
  %other.1 = f32[5]{0:T(128)} fusion(%a), calls=%f
  %loop_fusion.13.remat = (bf16[8,4]{1,0}, f32[2]{0}) fusion(%a), kind=kLoop, calls=%fused
  %gte.remat.4 = bf16[8,4]{1,0} get-tuple-element(%loop_fusion.13.remat), index=0
  %bitcast.remat = bf16[32]{0} bitcast(%gte.remat.4)
  ROOT %fusion.remat2 = f32[3]{0} fusion(%gte.remat.4), calls=%f, metadata={op_name="remat"}
  %fusion.remat.1 = f32[5]{0:T(128)} fusion(%gte.remat.4), calls=%fused.remat
  %moved.3.remat = f32[11]{0} fusion(%gte.remat.4), calls=%fused
  %both.remat = f32[13]{0} fusion(%gte.remat.4), calls=%fused
  %both.remat2 = f32[13]{0} fusion(%gte.remat.4), calls=%fused
  %fusion.remat.1.remat = f32[5]{0:T(128)} fusion(%gte.remat.4), calls=%fused.remat
  %other.remat.1 = f32[17]{0} fusion(%gte.remat.4), calls=%fused
  %fusion.7 = f32[9]{0} fusion(%fusion.remat2), metadata={op_name="jit(f)/remat2/add"}
"""
TPU = """\
  %conv.1 = bf16[1,4,4,32]{3,0,2,1:T(2,128)(2,1)} convolution(%f.1, %f.2), window={size=1x1}, \
dim_labels=b01f_01io->b01f, metadata={op_name="jit(f)/Generator/rnn/conv_general_dilated"}
  %conv.2 = bf16[3,3,8,16]{3,2,1,0:T(8,128)(2,1)} convolution(%f.1, %f.2), window={size=4x4}, \
dim_labels=f01b_i01o->01bf
  ROOT %dot.3 = f32[8,16]{1,0:T(8,128)} convolution(%f.1, %f.2), dim_labels=bf_io->bf
  %conv.4 = f32[1,4,4,4,8]{4,3,2,1,0:T(8,128)} convolution(%f.1, %f.2), window={size=3x3x3}, \
dim_labels=b012f_012io->b012f
  %dot.9 = f32[4,8,8]{2,1,0:T(8,128)} convolution(%f.1, %f.2), window={size=4 stride=3 \
lhs_dilate=4}, dim_labels=0bf_0io->0bf, metadata={op_name="jit(f)/bij,bjk->bik/dot_general"}
  %conv.10 = (f32[1,4,4,8]{3,2,1,0}, f32[8]{0}, f32[8]{0}, f32[8]{0}, f32[8]{0}, \
/*index=5*/f32[8]{0}) convolution(%f.1, %f.2), window={size=3x3}, dim_labels=b01f?_01io->b01f
  %conv.5 = f32[8]{0} convolution(%f.1, %f.2)
  %pad.6 = bf16[1,6,6,32]{3,2,1,0:T(8,128)(2,1)} pad(%f.1, %zero), padding=0_0x1_1x1_1x0_0
  %copy.7 = bf16[1,4,4,32]{3,2,0,1:T(4,128)(2,1)} copy(%param_0.22474)
  %copy.8 = (bf16[4]{0}, s8[4]{0}, u32[]) copy-start(%param_0)
"""


def test_forms_of_convolutions_on_a_gpu():
  """Calls of cuDNN count, those of cuBLAS do not, nor does what reads their results."""
  found = operations.convolutions(GPU)
  assert found == {"2-D, channels last": 2, "3-D, channels first": 1}
  assert [*found] == ["2-D, channels last", "3-D, channels first"]


def test_forms_of_convolutions_on_a_tpu():
  """Gradients of kernels have other orders of axes; products of matrices have none, or batches'."""
  found = operations.convolutions(TPU)
  assert found == {"2-D": 3, "matrix products": 2, "3-D": 1, "unknown": 1}


def test_moves_and_their_bytes():
  assert operations.moves(GPU) == {
    "transpose": {"count": 2, "bytes": 16 * 8 * 4 + 6 * 2},
    "copy": {"count": 1, "bytes": 8 * 64 * 4},
    "pad": {"count": 0, "bytes": 0},
  }
  moved = operations.moves(TPU)
  assert moved["pad"] == {"count": 1, "bytes": 36 * 32 * 2}
  assert moved["copy"] == {"count": 1, "bytes": 16 * 32 * 2}  # without the asynchronous one
  assert not operations.convolutions("") and operations.moves("")["pad"]["count"] == 0


def test_results_that_the_compiler_computes_twice():
  """Not views of them, what reads them, what the config recomputes, or what has lost its original.

  "moved.3" and "other" are computed once, but later than in the program as written; "both" twice;
  "fusion" four times.
  """
  total = (8 * 4 * 2 + 2 * 4) + 3 * 4 + 2 * 5 * 4 + 13 * 4
  assert operations.recomputed(AGAIN) == {"count": 5, "bytes": total}
  assert operations.recomputed(GPU + TPU) == {"count": 0, "bytes": 0}
