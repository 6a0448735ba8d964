"""The sharding of the full-size state on eight devices, pinned."""

from vidgan_jax.training import state

PREFIX = "discriminators/temporal/params/"
# Arrays of the temporal discriminator of DVD-GAN at 64x64x12.
PINNED = {
  "block0/conv1/kernel float32[3,3,3,3,256]": (None, None, None, None, "data"),
  "block1/conv2/kernel float32[3,3,3,512,512]": (None, None, None, "data"),
  "block2/shortcut/kernel float32[1,1,512,1024]": (None, None, "data"),
  "block4/conv1/bias float32[2048]": ("data",),
  "block0/conv1/bias float32[256]": "whole",
  "head/linear/kernel float32[2048,1]": ("data",),
  "head/embed/embedding float32[600,2048]": ("data",),
}


def test_zero1_on_eight_devices(load_config):
  config = load_config("dvd_gan", "kinetics600_64x12")
  config.unlock().sharding = "zero1"
  total, *lines = state.placement(config, 8)
  by_name = {line.rsplit(" (", 1)[0].removesuffix(" whole"): line for line in lines}
  for name, spec in PINNED.items():
    assert by_name[PREFIX + name] == f"{PREFIX}{name} {spec}"
  moments = [line for line in lines if "discriminators/temporal/optimizer" in line]
  assert sum("block1/conv2/kernel" in line and "'data'" in line for line in moments) == 2
  assert all("batch_stats" not in line or line.endswith("whole") for line in lines)
  # 499.4 M parameters, two moments of each, 182.3 M numbers of the average; 4 bytes per number.
  assert total == "state of 6,724.4 MB, 843.1 MB on each of 8 (zero1)"
