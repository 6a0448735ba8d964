"""The switches of a config's data: which clips, and how training sees them."""

from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.config.schema import boolean, choice, integer, number, text, texts

_MANY = 2**31 - 1
_FREE = {"enters_update": False}

SWITCHES = {
  "name": choice(
    "moving_shapes",
    ("moving_shapes", "npz", "video_folder", "prepared"),
    "Source of the clips: synthetic moving shapes, a .npz file, a folder of videos, or a prepared "
    "set.",
  ),
  "directory": text("", "The folder, or the .npz file.", **_FREE),
  "num_examples": integer(50_000, "Number of clips of moving_shapes.", least=1, most=20_000_000),
  "seed": integer(0, "Seed of the clips of moving_shapes.", least=0, most=schema.LARGEST_SEED),
  "variety": number(
    1.0,
    "Variety of moving_shapes, from 0 (plain dark backgrounds, no occlusion) to 1.",
    least=0,
    most=1,
  ),
  "time_step": number(
    1.0,
    "Time between frames of moving_shapes; smaller steps give slower motion.",
    least=0,
    above=True,
    most=100,
    absent=1.0,
  ),
  "view": choice(
    "area",
    ("area", "nearest"),
    "How clips get the model's resolution: averaged over areas, or by nearest neighbour from clips "
    "of view_resolution pixels (early stages of SSW-GAN).",
    absent="area",
  ),
  "view_resolution": integer(
    0,
    "For view=nearest: height and width of the clips before subsampling, a multiple of the model's "
    "resolution; 0 is that resolution.",
    least=0,
    most=4096,
    absent=0,
  ),
  "stride": integer(
    1,
    "Distance, in frames of the video, between consecutive frames of a clip.",
    least=1,
    most=10_000,
  ),
  "split": text(
    "train",
    "Part of the data: train or test; also val or all for folders of videos; any split of a "
    "prepared set.",
    absent="train",
  ),
  "split_folders": text(
    "auto",
    "Which folders of videos are splits: auto recognises names like train and test, none ignores "
    "names, FOLDER=SPLIT,... names the folders.",
    absent="auto",
  ),
  "split_number": integer(
    1, "Which of UCF-101's numbered official lists to use.", least=1, most=99
  ),
  "horizontal_flip": boolean(False, "Mirror half of the clips."),
  "crop": choice(
    "random",
    ("random", "center"),
    "Position of the square that is cut out of frames that are not square.",
  ),
  "cache_directory": text(
    "", "Folder of cached decoded frames; empty is in the user's cache folder.", **_FREE
  ),
  "min_clips": integer(
    1,
    "Least number of usable clips in a folder; training refuses fewer.",
    least=1,
    most=_MANY,
    **_FREE,
  ),
  "prepare": text(
    "", "Options of `prepare` for this set, shown if the set is missing.", absent="", **_FREE
  ),
  "mixture": texts(
    (),
    "Further folders of prepared sets; a folder that is named twice is used twice per epoch.",
    absent=(),
    **_FREE,  # may change, as data.directory may: a resumed run compares the data itself
  ),
  "classes": texts(
    (), "Names of the classes to use, in the order of their labels; empty uses all.", absent=()
  ),
  "min_frames": integer(
    0,
    "Least number of stored frames of a clip; clips shorter than an example are never used.",
    least=0,
    most=_MANY,
    absent=0,
  ),
  "temporal_reversal": boolean(False, "Play half of the clips backwards.", absent=False),
  "damaged": choice(
    "stop",
    ("stop", "skip"),
    "What to do at a damaged clip of a prepared set: stop, or use another clip.",
    absent="stop",
    **_FREE,
  ),
  "reader": choice(
    "python",
    ("python", "tensorflow"),
    "Decoder of prepared sets: Python threads or tf.data; the clips are the same.",
    absent="python",
    **_FREE,
  ),
  "workers": integer(
    0,
    "Number of decoding threads; 0 is one per core, at most 16.",
    least=0,
    most=1024,
    absent=0,
    **_FREE,
  ),
}
