"""The cores and the memory that a process may use, with and without a container's limits."""

import os

import pytest

from vidgan_jax.runtime.hardware import cores

MANY = set(range(64))


@pytest.fixture
def system(tmp_path, monkeypatch):
  """A function that takes the membership file and {file: content}, and fakes control groups.

  The machine has 64 cores.
  """
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: MANY)
  monkeypatch.setattr(cores, "_MEMBERSHIP", str(tmp_path / "cgroup"))
  monkeypatch.setattr(cores, "_MOUNT", str(tmp_path / "mount"))

  def make(membership, files):
    (tmp_path / "cgroup").write_text(membership)
    for name, content in files.items():
      path = tmp_path / "mount" / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(content)

  return make


@pytest.mark.parametrize(
  ("membership", "files", "count"),
  [
    ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),  # docker run --cpus=2
    ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
    ("0::/\n", {"cpu.max": "250000 100000\n"}, 3),
    ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
    ("0::/slice/job\n", {"slice/cpu.max": "400000 100000", "slice/job/cpu.max": "max 100000"}, 4),
    ("0::/of/the/host\n", {"cpu.max": "200000 100000"}, 2),  # a path that only the host sees
    ("0::/\n", {"cpu.max": "no limit"}, 64),
    ("0::/\n", {}, 64),
    (
      "3:memory:/m\n2:cpu,cpuacct:/job\n",
      {"cpu,cpuacct/job/cpu.cfs_quota_us": "800000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"},
      8,
    ),
    (
      "1:cpu:/\n0::/\n",
      {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
      64,
    ),
    ("damaged", {}, 64),
  ],
)
def test_the_cpu_limit_of_a_container_counts(system, membership, files, count):
  system(membership, files)
  assert cores.usable_cores() == count


def test_without_control_groups_the_affinity_counts(system):
  assert cores.usable_cores() == 64


@pytest.mark.parametrize(
  ("membership", "files", "limit"),
  [
    ("0::/\n", {"memory.max": "8589934592\n"}, 2**33),  # docker run --memory=8g
    ("0::/\n", {"memory.max": "max\n"}, None),
    ("0::/slice/job\n", {"slice/memory.max": "4096", "slice/job/memory.max": "8192"}, 4096),
    ("2:cpu:/job\n3:memory:/m\n", {"memory/m/memory.limit_in_bytes": "4096\n"}, 4096),
    ("0::/\n", {}, None),
    ("damaged", {}, None),
  ],
)
def test_the_memory_limit_of_a_container_counts(system, monkeypatch, membership, files, limit):
  system(membership, files)
  monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 2**20, "SC_PAGE_SIZE": 2**14}.get)
  assert cores.usable_memory() == (limit or 2**34)
  monkeypatch.setattr(os, "sysconf", lambda name: -1)  # unknown
  assert cores.usable_memory() == limit
