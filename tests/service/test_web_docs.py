"""What docs/web.md shows does what it says."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.conftest import Running, serving
from tests.service.test_web import port

OPENING = "AAAAAAIIAQ=="


async def output(*command: str, cwd: Path) -> str:
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, stdout=-1, stderr=-1)
    told, complaint = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, complaint.decode()
    return told.decode()


def examples(repository: Path, language: str, running: Running) -> list[str]:
    text = (repository / "docs" / "web.md").read_text("utf-8")
    found = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return [example.replace("localhost:8080", f"127.0.0.1:{port(running)}") for example in found]


async def test_curl(repository: Path, program: Callable[[str, str], str]) -> None:
    program("curl", "apt install curl")
    async with serving(web_port=0) as running:
        told = await output("sh", "-c", examples(repository, "sh", running)[0], cwd=repository)
    assert told.startswith(OPENING)


async def test_buf_a_client_that_nobody_here_wrote(repository: Path) -> None:
    buf = Path(sys.executable).with_name("buf")
    if not buf.exists():
        pytest.skip("buf is not installed (pip install buf-bin)")
    async with serving(web_port=0) as running:
        command = examples(repository, "sh", running)[1].replace("buf ", f"{buf} ", 1)
        told = await output("sh", "-c", command, cwd=repository)
    assert '"ready": true' in told


async def test_javascript_without_a_library(repository: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    async with serving(web_port=0) as running:
        (tmp_path / "plain.mjs").write_text(examples(repository, "js", running)[1], "utf-8")
        assert await output(node, "plain.mjs", cwd=tmp_path) == "SERVING\n"
