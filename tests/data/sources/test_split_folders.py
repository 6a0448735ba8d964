import pytest

from vidgan_jax.data.sources import split_folders
from vidgan_jax.runtime.errors import UserError


def splits_of(*folders, option="auto"):
  """Splits, remaining folders and the message, for one clip in each of the given folders."""
  clips = [(f"{folder}/1.mp4", folder) for folder in folders]
  assignments, line = split_folders.assign_splits("data", clips, option, "--split_folders")
  return (
    [assignment.split for assignment in assignments],
    ["/".join(assignment.folders) for assignment in assignments],
    line,
  )


@pytest.mark.parametrize(
  ("folders", "splits"),
  [
    (["train", "test"], "train test"),
    (["Train", "VALID", "Testing"], "train val test"),
    (["train", "eval"], "train val"),
    (["sky_train", "sky_test"], "train test"),
    (["SkyTrain", "SkyTest"], "train test"),
    (["skytrain", "skytest"], "train test"),
    (["sky-training-64", "sky-validation-64"], "train val"),
    (["train_set", "test_set"], "train test"),
    (["train2017", "val2017"], "train val"),
    (["train videos", "trainset_2", "test"], "train train test"),
    (["train_1", "training_2"], "train train"),
    (["test"], "test"),
    (["sky_train"], "train"),
  ],
)
def test_names_that_all_mean_splits(folders, splits):
  assert splits_of(*folders)[:2] == (splits.split(), [""] * len(folders))
  assert splits_of(*(f"{name}/a" for name in folders))[:2] == (splits.split(), ["a"] * len(folders))
  assert splits_of(*(f"a/{name}" for name in folders))[:2] == (splits.split(), ["a"] * len(folders))
  assert all(f"{name} is" in splits_of(*folders)[2] for name in folders)


def test_splits_far_below_are_seen():
  assert splits_of("a/b/c/d/e/train", "a/b/c/d/e/test")[0] == ["train", "test"]


@pytest.mark.parametrize(
  "folders",
  [
    ["a", "b"],
    ["toy train", "steam train"],  # kinds of trains
    ["training dog", "walking the dog", "testifying"],  # of Kinetics
    ["trainer", "tester"],
    ["protest", "restrain"],
    ["road/bus", "rail/train", "rail/tram"],
    ["golf_test_drive", "taking_a_train", "swim"],
    [],
  ],
)
def test_names_of_classes_are_no_splits(folders):
  splits, rest, line = splits_of(*folders)
  assert set(splits) <= {"train"} and rest == folders and line is None


@pytest.mark.parametrize(
  "folders",
  [
    ["train", "test", "extra"],
    ["bus", "train"],
    ["a", "b", "test"],
    ["sky_train", "sky_test", "extra"],
    ["ucf_train", "hmdb_test"],
    ["a/train", "a/test", "b"],
    ["a/val", "b/other"],
  ],
)
def test_what_is_open_is_refused_with_what_to_say(folders):
  with pytest.raises(UserError, match=r"is beside .* --split_folders=none .*--split_folders=\w+="):
    splits_of(*folders)
  assert splits_of(*folders, option="none")[1:] == (folders, None)


def test_folders_of_pictures_that_are_splits_are_no_clips():
  clips = [("train", ""), ("test", "")]
  with pytest.raises(UserError, match="whose name is that of a split"):
    split_folders.assign_splits("data", clips, "auto", "--split_folders")


def test_named_folders_are_found_wherever_they_lie():
  option = "part\u00e9=train,other=held_out"
  splits, rest, line = splits_of("a/parte\u0301", "OTHER/b", "third", option=option)
  assert splits == ["train", "held_out", None] and rest == ["a", "b", "third"]
  assert "is held_out" in line
  for wrong in ("", "a", "a=", "=train", "a=Train", "auto,none", "a=train,"):
    with pytest.raises(UserError, match="must be auto, none, or FOLDER=SPLIT"):
      splits_of("a", option=wrong)
