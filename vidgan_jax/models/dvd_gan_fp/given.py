"""The part of `VideoGan` that concerns frames given as data, which the generator continues."""


class Conditioned:
  """What systems that continue given frames override; all others need no data to condition on.

  In training, a system takes the data from the real batch (`generated_inputs`). Everywhere else the
  caller passes it to `sampling_inputs` as `conditioning`, {"clip": uint8 [N, T, H, W, 3]}.

  Attributes:
    given_frames: number of first frames of each clip that are given and continued; 0 generates
      whole clips. Samples are whole clips, which begin with the given frames.
  """

  given_frames: int = 0  # no field, because fields with defaults would precede those without

  @property
  def needs_conditioning(self) -> bool:
    """Whether `sampling_inputs` needs data to condition on, and raises UserError without it."""
    return self.given_frames > 0
