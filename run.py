"""Set up animax in this checkout and run it. Needs Python 3.10 or newer, nothing else.

    python run.py demo [RIG PROMPT]     animate an example rig (or your own) on this machine's CPU
    python run.py serve [options]       start the gRPC service (options of `animax serve`)
    python run.py test [arguments]      run all tests (arguments of pytest)
    python run.py check                 formatting, lint, types, contract, generated code
    python run.py generate              write the protobuf modules anew from proto/
    python run.py interop               install Blender as a Python module beside, for the interop tests
    python run.py lock                  resolve all versions anew and write requirements/
    python run.py setup [extra ...]     only install

Packages go into the active virtual environment, else into .venv, at the versions in requirements/lock.txt. Nothing is
installed again until pyproject.toml or the lock changes.
"""

import sys

if sys.version_info < (3, 10):
    sys.exit("run.py: this is Python {}.{}; animax needs Python 3.10 or newer".format(*sys.version_info))

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements" / "lock.txt"
BLENDER_LOCK = ROOT / "requirements" / "blender.txt"
BLENDER_PYTHON = (3, 11)
"""The one Python that has wheels of the pinned bpy."""
LOCKED_EXTRAS = ("video", "postgres", "s3", "otel", "auth", "large", "train", "wan", "ray", "test", "dev")
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
MOST_WORKERS = 4
"""Processes that run tests; each of them holds torch, about a gigabyte."""
PROTOS = ROOT / "proto"
FIRST_CONTRACT = PROTOS / "first_contract.binpb"
GENERATED = ROOT / "server" / "animax" / "v1"


class SetupError(Exception):
    """Something outside this script is missing; the message is one line that says what."""


class Environment:
    """A virtual environment that holds animax and the packages of some of its extras."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.python = root / SCRIPTS / ("python.exe" if os.name == "nt" else "python")
        self.stamp = root / "animax-installed.json"

    @classmethod
    def current(cls) -> "Environment":
        """The active one, else the checkout's own."""
        active = sys.prefix != sys.base_prefix
        return cls(Path(sys.prefix) if active else ROOT / ".venv")

    def tool(self, name: str) -> str:
        """Path of a program that a package of this environment brought."""
        return str(self.root / SCRIPTS / (name + (".exe" if os.name == "nt" else "")))

    def create(self) -> None:
        """Make it where it is missing, or left over from a Python that is gone."""
        works = self.python.exists() and subprocess.run([self.python, "-c", ""], capture_output=True).returncode == 0
        if not works:
            say(f"creating {shown(self.root)} with Python {'.'.join(map(str, sys.version_info[:3]))}")
            try:
                venv.create(self.root, with_pip=True, clear=self.root.exists())
            except (OSError, subprocess.CalledProcessError) as error:
                hint = "; on Debian and Ubuntu: apt install python3-venv" if sys.platform == "linux" else ""
                raise SetupError(f"cannot create {shown(self.root)}: {error}{hint}") from error

    def require(self, *extras: str) -> None:
        """Install animax with ``extras``, unless this very state is there already."""
        state = fingerprint(ROOT / "pyproject.toml", LOCK)
        have: set[str] = set()
        try:
            stamp = json.loads(self.stamp.read_text("utf-8"))
            have = set(stamp["extras"])
            if stamp["state"] == state and have.issuperset(extras) and self.python.exists():
                return
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self.create()
        wanted = sorted(have.union(extras))
        say(f"installing animax{' with ' + ', '.join(wanted) if wanted else ''} into {shown(self.root)}")
        target = f"{ROOT}[{','.join(wanted)}]" if wanted else str(ROOT)
        self.pip_install("--editable", target, "--constraint", str(LOCK))
        self.stamp.write_text(json.dumps({"state": state, "extras": wanted}), "utf-8")

    def pip_install(self, *arguments: str) -> None:
        """Run pip quietly; what it says is shown only when it fails. Python compiles what it imports; where it may not
        keep that, pip compiles all."""
        options = ["--quiet", "--no-input", "--disable-pip-version-check"]
        options += [] if sys.dont_write_bytecode else ["--no-compile"]
        command = [str(self.python), "-m", "pip", "install", *options, *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            print(done.stdout, file=sys.stderr, end="")
            raise SetupError(why_pip_failed(done.stdout))


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit status."""
    plain: dict[str, Callable[[Environment], int]] = {"check": check, "generate": generate, "interop": interop}
    forwarding: dict[str, Callable[[Environment, list[str]], int]] = {
        "demo": demo,
        "serve": serve,
        "test": test,
        "lock": lock,
        "setup": setup,
    }
    parser = argparse.ArgumentParser(
        "run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage="run.py COMMAND ..."
    )
    parser.add_argument("command", choices=[*forwarding, *plain], help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    environment = Environment.current()
    if given.command in forwarding:
        return forwarding[given.command](environment, given.rest)
    if given.rest:
        parser.error(f"{given.command} takes no arguments")
    return plain[given.command](environment)


def demo(environment: Environment, arguments: list[str]) -> int:
    """Animate an example rig on the embedded model and say where the result is."""
    if len(arguments) == 1:
        raise SetupError("demo takes no arguments, or a rig and a prompt")
    rig = Path(arguments[0]) if arguments else ROOT / "examples" / "quadruped.glb"
    prompt = arguments[1] if arguments else "walks forward"
    if not rig.is_file():
        raise SetupError(f"there is no rig at {rig}")
    environment.require("video")
    folder = ROOT / "out" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    result, preview = folder / f"{rig.stem}.glb", folder / f"{rig.stem}.mp4"
    options = ["-o", str(result), "--preview", str(preview), "--provider", "cpu", *arguments[2:]]
    status = subprocess.call([environment.tool("animax"), "animate", str(rig), prompt, *options])
    if status == 0:
        say(f"animated rig: {shown(result)} (open it in Blender or any glTF viewer)")
        say(f"preview:      {shown(preview)}")
    return status


def serve(environment: Environment, arguments: list[str]) -> int:
    """Start the service in this process's place."""
    environment.require()
    return become([environment.tool("animax"), "serve", *arguments])


def test(environment: Environment, arguments: list[str]) -> int:
    """Run pytest over everything, files side by side; the tests of training need torch."""
    environment.require("video", "train", "wan", "ray", "test", "dev")
    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    spread = [] if arguments or workers == 1 else [f"--numprocesses={workers}", "--dist=loadfile"]
    return become([str(environment.python), "-m", "pytest", *spread, *arguments])


def check(environment: Environment) -> int:
    """Run every check, also after one failed, and list the results."""
    environment.require("dev")
    python, buf = str(environment.python), environment.tool("buf")
    steps: list[tuple[str, Callable[[], int]]] = [
        ("format", lambda: subprocess.call([environment.tool("ruff"), "format", "--check", "--quiet", "."], cwd=ROOT)),
        ("lint", lambda: subprocess.call([environment.tool("ruff"), "check", "--quiet", "."], cwd=ROOT)),
        ("types", lambda: subprocess.call([python, "-m", "mypy", "--no-error-summary"], cwd=ROOT)),
        ("contract", lambda: subprocess.call([buf, "lint", str(PROTOS)], cwd=ROOT)),
        (
            "breaking",
            lambda: subprocess.call([buf, "breaking", str(PROTOS), "--against", str(FIRST_CONTRACT)], cwd=ROOT),
        ),
        ("generated", lambda: stale_modules(environment)),
    ]
    failed = []
    for name, step in steps:
        began = time.monotonic()
        status = step()
        say(f"check {name:<10} {'FAILED' if status else 'ok':<6} {time.monotonic() - began:5.1f} s")
        if status:
            failed.append(name)
    if failed:
        say(f"{len(failed)} of {len(steps)} checks failed: {', '.join(failed)}")
    return 1 if failed else 0


def generate(environment: Environment) -> int:
    """Write the protobuf modules."""
    environment.require("dev")
    return write_modules(environment, ROOT / "server")


def write_modules(environment: Environment, target: Path) -> int:
    """Generate the Python modules of every proto file below ``target``."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    if not sources:
        raise SetupError("there are no .proto files below proto/")
    outputs = [f"--{kind}_out={target}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    search = {**os.environ, "PATH": str(environment.root / SCRIPTS) + os.pathsep + os.environ.get("PATH", "")}
    command = [str(environment.python), "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}", *outputs, *sources]
    return subprocess.run(command, env=search, stdout=subprocess.DEVNULL).returncode


def stale_modules(environment: Environment) -> int:
    """1 when the committed protobuf modules are not what proto/ gives today."""
    with tempfile.TemporaryDirectory() as scratch:
        status = write_modules(environment, Path(scratch))
        fresh = {path.name: path.read_bytes() for path in (Path(scratch) / "animax" / "v1").glob("*_pb2*")}
    committed = {path.name: path.read_bytes() for path in GENERATED.glob("*_pb2*")}
    stale = sorted(name for name in {*fresh, *committed} if fresh.get(name) != committed.get(name))
    if stale:
        say(f"not what proto/ gives today: {', '.join(stale)}; run: python run.py generate")
    return status or int(bool(stale))


def interop(_: Environment) -> int:
    """Put Blender's Python module into an environment of its own: it wants another NumPy than animax."""
    blender = Environment(ROOT / ".venv-blender")
    state = fingerprint(BLENDER_LOCK)
    if blender.stamp.is_file() and blender.stamp.read_text("utf-8") == state and blender.python.exists():
        return 0
    wanted = "python{}.{}".format(*BLENDER_PYTHON)
    python = sys.executable if sys.version_info[:2] == BLENDER_PYTHON else shutil.which(wanted)
    if python is None:
        raise SetupError(f"Blender's Python module needs {wanted}, which is not on the PATH")
    say(f"installing Blender's Python module into {shown(blender.root)}")
    subprocess.run([python, "-m", "venv", "--clear", str(blender.root)], check=True)
    blender.pip_install("--requirement", str(BLENDER_LOCK))
    blender.stamp.write_text(state, "utf-8")
    return 0


def lock(environment: Environment, arguments: list[str]) -> int:
    """Resolve all versions, for every Python and platform at once, with uv; ``--upgrade`` moves what is locked."""
    environment.require("dev")
    uv = [environment.tool("uv"), "pip", "compile", "--quiet", "--no-emit-index-url", "--no-header", *arguments]
    LOCK.parent.mkdir(exist_ok=True)
    extras = [option for extra in LOCKED_EXTRAS for option in ("--extra", extra)]
    everywhere = ["--universal", "--python-version", "3.10"]
    status = subprocess.call([*uv, "pyproject.toml", *extras, *everywhere, "--output-file", str(LOCK)], cwd=ROOT)
    source = str(BLENDER_LOCK.with_suffix(".in"))
    one = ["--python-version", "{}.{}".format(*BLENDER_PYTHON)]
    return status or subprocess.call([*uv, source, *one, "--output-file", str(BLENDER_LOCK)], cwd=ROOT)


def setup(environment: Environment, arguments: list[str]) -> int:
    """Install only."""
    unknown = set(arguments).difference(LOCKED_EXTRAS)
    if unknown:
        raise SetupError(f"unknown extra {', '.join(sorted(unknown))}; accepted: {', '.join(LOCKED_EXTRAS)}")
    environment.require(*arguments)
    return 0


def fingerprint(*files: Path) -> str:
    """Changes when a file, the place of the checkout or the Python does."""
    digest = hashlib.sha256(f"{ROOT} {sys.version_info[:2]}".encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def why_pip_failed(output: str) -> str:
    """One line for what pip said at length."""
    signs = ("Failed to establish a new connection", "Temporary failure in name resolution", "getaddrinfo failed")
    signs += ("Network is unreachable", "NewConnectionError", "NameResolutionError", "Connection refused", "timed out")
    if any(sign in output for sign in signs):
        return "pip cannot reach the package index; check the network or pip's proxy settings, then run this again"
    if "No space left on device" in output:
        return "the disk is full; free some space, then run this again"
    if "No matching distribution found" in output:
        missing = output.split("No matching distribution found for", 1)[1].split()[0]
        if "(from versions: none)" in output:
            return (
                f"pip finds nothing called {missing}; check the network and pip's index settings, then run this again"
            )
        python = "{}.{}".format(*sys.version_info)
        return f"no package {missing} for Python {python} on this platform; Python 3.10 to 3.13 are known to work"
    return "pip could not install the packages; what it said stands above"


def become(command: list[str]) -> int:
    """Run ``command`` in this process's place where the system can, so that signals reach it alone."""
    sys.stdout.flush()
    if os.name == "posix":
        os.chdir(ROOT)
        os.execv(command[0], command)
    return subprocess.call(command, cwd=ROOT)


def shown(path: Path) -> str:
    """A path as short as it can be understood."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def say(text: str) -> None:
    """Tell the person at the terminal; flushed, because children write to the same place."""
    print(text, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SetupError as error:
        sys.exit(f"run.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
