from __future__ import annotations

import json
from pathlib import Path

import pytest

from animax.cli.manifest import COLUMNS, read_manifest
from animax.errors import AssetError, OptionError
from animax.request import Request, RootMode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("hero.glb", "fox.glb"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def read(folder: Path, text: str, name: str = "clips.csv"):
    (folder / name).write_text(text, "utf-8")
    return read_manifest(folder / name)


def test_csv_and_json_lines_mean_the_same(folder):
    csv = (
        "rig,prompt,output,seconds,fps,seed,loop,root_mode,guidance,steps,foot_cleanup,facing\n"
        'hero.glb,"waves, twice",out/a.glb;out/a.bvh,1.5,24,7,yes,root_motion,3.5,4,false,-x\n'
        "fox.glb,runs,b.npz,,,,,,,,,\n"
    )
    json_lines = [
        {"rig": "hero.glb", "prompt": "waves, twice", "output": ["out/a.glb", "out/a.bvh"], "seconds": 1.5, "fps": 24}
        | {"seed": 7, "loop": True, "root_mode": "root_motion", "guidance": 3.5, "steps": 4, "foot_cleanup": False}
        | {"facing": "-x"},
        {"rig": "fox.glb", "prompt": "runs", "output": "b.npz"},
    ]
    rows, problems = read(folder, csv)
    others, more = read(folder, "\n\n".join(map(json.dumps, json_lines)), "clips.jsonl")
    assert problems == more == []
    assert [row.key for row in rows] == [row.key for row in others]
    wave, run = rows
    expected = Request("waves, twice", 1.5, 24, 7, True, RootMode.ROOT_MOTION, 3.5, 4, False)
    assert (wave.request, wave.facing) == (expected, "-x")
    assert wave.outputs == (folder / "out" / "a.glb", folder / "out" / "a.bvh")
    assert run.request == Request("runs")
    assert [row.line for row in rows] == [2, 3]
    assert [row.line for row in others] == [1, 3]


def test_a_clip_keeps_its_key_wherever_it_stands_and_loses_it_with_any_change(folder):
    first, _ = read(folder, "rig,prompt,output\nhero.glb,waves,a.glb\nfox.glb,runs,b.glb\n")
    second, _ = read(folder, "prompt,rig,output\nruns,fox.glb,b.glb\nwaves,hero.glb,a.glb\n")
    assert {row.key for row in first} == {row.key for row in second}
    (folder / "fox.glb").write_bytes(b"another fox")
    third, _ = read(folder, "rig,prompt,output\nhero.glb,waves,a.glb\nfox.glb,runs,b.glb\n")
    assert [a.key == b.key for a, b in zip(first, third, strict=True)] == [True, False]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("hare.glb,waves,a.glb,2", "rig is 'hare.glb'"),
        ("hero.glb,,a.glb,2", "prompt is ''; accepted: a value"),
        ("hero.glb,waves,a.fbx,2", "output is 'a.fbx'; accepted: names that end in .glb, .bvh, .npz"),
        ("hero.glb,waves,hero.glb,2", "another file than the rig"),
        ("hero.glb,waves,a.glb,long", "seconds is 'long'; accepted: a number"),
        ("hero.glb,waves,a.glb,99", "seconds is 99.0; accepted: 0.25 to "),
        ("hero.glb,waves,a.glb,2,surplus", "the column is None"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(folder, row, says):
    rows, problems = read(folder, f"rig,prompt,output,seconds\n{row}\nfox.glb,runs,z.glb,1\n")
    assert [row.line for row in rows] == [3]
    (problem,) = problems
    assert problem.startswith("line 2: ")
    assert says in problem


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "JSON"),
        ("[1]", "a JSON object"),
        ('{"rig": "hero.glb", "prompt": "x", "output": "a.glb", "sped": 3}', ", ".join(COLUMNS)),
        ('{"rig": "hero.glb", "prompt": "x", "output": "a.glb", "seed": 1.5}', "a whole number"),
        ('{"rig": "hero.glb", "prompt": "x", "output": "a.glb", "loop": "maybe"}', "true or false"),
        ('{"rig": "hero.glb", "prompt": "x", "output": "a.glb", "facing": "up"}', "+x, -x"),
        ('{"rig": "hero.glb", "prompt": "x", "output": "a.glb", "root_mode": "walk"}', "in_place"),
    ],
)
def test_json_lines_too(folder, line, says):
    rows, problems = read(folder, line, "clips.jsonl")
    assert rows == []
    assert says in problems[0]


def test_everything_that_is_wrong_with_a_row_is_told(folder):
    _, problems = read(folder, "rig,prompt,output,seconds,fps\nhare.glb,,a.fbx,long,x\n,waves,a.glb,1,24\n")
    told = [problem.partition(" is ")[0] for problem in problems]
    assert told == [*(f"line 2: {name}" for name in ("rig", "output", "prompt", "seconds", "fps")), "line 3: rig"]


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("", "clips.csv", "rig, prompt, output among the columns"),
        ("rig,prompt\nhero.glb,waves\n", "clips.csv", "the header is 'rig,prompt'"),
        ("rig,prompt,output\n", "clips.csv", "at least one row"),
        ("\n", "clips.jsonl", "at least one row"),
    ],
)
def test_a_manifest_without_rows_or_columns_is_refused(folder, text, name, says):
    with pytest.raises(OptionError, match=says):
        read(folder, text, name)


def test_two_rows_must_not_write_one_file(folder):
    _, problems = read(folder, "rig,prompt,output\nhero.glb,waves,a.glb\nfox.glb,runs,./a.glb\n")
    assert problems == ["line 3: output is '" + str(folder / "a.glb") + "'; accepted: another file than line 2's"]


def test_other_files_are_refused(folder):
    with pytest.raises(OptionError):
        read(folder, "", "clips.txt")
    (folder / "clips.csv").write_bytes(b"rig,prompt,output\nhero.glb,\xff,a.glb\n")
    with pytest.raises(AssetError):
        read_manifest(folder / "clips.csv")
