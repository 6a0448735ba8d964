# Installs vidgan_jax if it is missing. The JAX and NumPy of this machine stay as they are: Colab's
# JAX fits Colab's GPUs and TPUs, and another version might not.
import importlib.metadata
import importlib.util
import pathlib
import subprocess
import sys
import tempfile

PACKAGE = "git+https://github.com/{repository}"  # or a wheel, or the folder of a clone

if importlib.util.find_spec("vidgan_jax") is None:
  installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
  kept = [
    f"{n}=={v}" for n, v in installed.items() if n and n.startswith(("jax", "libtpu", "numpy"))
  ]
  constraints = pathlib.Path(tempfile.mkdtemp()) / "kept.txt"
  constraints.write_text("\n".join(kept), encoding="utf-8")
  command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
  done = subprocess.run([*command, PACKAGE], capture_output=True, text=True)
  if done.returncode:
    raise RuntimeError(f"pip did not install vidgan_jax beside this JAX:\n{done.stderr[-2000:]}")
  importlib.invalidate_caches()
  # Packages that this session has loaded already, and that pip has replaced.
  loaded = {"PIL": "pillow", "matplotlib": "matplotlib"}
  stale = [
    package
    for module, package in loaded.items()
    if module in sys.modules and importlib.metadata.version(package) != installed.get(package)
  ]
  if stale:
    print(f"Restart the session once, because {', '.join(stale)} was replaced; then go on here.")
