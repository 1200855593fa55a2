"""Reading and writing Wan2.1 weights: a folder of diffusers or of the original release, safetensors only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from animax.errors import ModelError
from animax_engine.network import WAN_1_3B, NetworkConfig, VideoPoseTransformer
from animax_engine.wan.key_map import ADDITIONS, Naming, key_map, naming_of

PICKLED = (".bin", ".pt", ".pth", ".ckpt")
SHOWN = 5
"""Names listed in an error; the rest are counted."""
FLOATS = ("F64", "F32", "F16", "BF16")
"""Types of numbers that weights may be stored in."""
_SIZES = {
    "dim": "width",
    "num_heads": "heads",
    "num_attention_heads": "heads",
    "num_layers": "depth",
    "ffn_dim": "ffn",
    "freq_dim": "frequencies",
    "text_dim": "text_width",
}
"""Fields of config.json, of both layouts, and ours."""


class WeightsError(ModelError):
    """Weights do not fit the network.

    Args:
        source: what was read.
        missing: weights of the network that are not there.
        unexpected: names that no weight of the network has.
        shapes: by name, the shape seen and the shape accepted.
    """

    def __init__(
        self,
        source: str,
        missing: list[str],
        unexpected: list[str],
        shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]],
    ) -> None:
        self.missing, self.unexpected, self.shapes = missing, unexpected, shapes
        parts = [
            _listed("missing", missing),
            _listed("unexpected", unexpected),
            _listed("wrong shape", [f"{k} is {seen}; accepted: {want}" for k, (seen, want) in shapes.items()]),
        ]
        super().__init__(f"weights {source!r} do not fit: " + "; ".join(part for part in parts if part))


@dataclass(frozen=True)
class Coverage:
    """What a set of weight files and a network have in common.

    Attributes:
        naming: of the files.
        loaded: our names of the weights found in the files.
        added: our names of the weights that Wan does not have and that start fresh.
        parameters: numbers in the loaded weights.
    """

    naming: Naming
    loaded: tuple[str, ...]
    added: tuple[str, ...]
    parameters: int


@contextmanager
def open_weights(path: Path) -> Iterator[dict[str, Any]]:
    """Every tensor's name with the open file that holds it, of a file, a folder or a pipeline's folder.

    Raises:
        ModelError: no safetensors there, only pickled weights, a shard missing or damaged, a weight in two files.
    """
    files = _files(path)
    with ExitStack() as stack:
        names: dict[str, Any] = {}
        for file in files:
            try:
                opened = stack.enter_context(safe_open(file, "pt"))
            except (SafetensorError, OSError) as error:
                raise ModelError(f"{file.name} is no whole safetensors file: {error}") from error
            twice = sorted(set(opened.keys()) & set(names))
            if twice:
                raise ModelError(f"{file.name} is not the only file of {twice[0]!r}; accepted: every weight once")
            names.update(dict.fromkeys(opened.keys(), opened))
        yield names


def network_config(path: Path, base: NetworkConfig = WAN_1_3B) -> NetworkConfig:
    """``base`` with the sizes that the config.json beside the weights states; ``base`` where there is none.

    Raises:
        ModelError: it describes another kind of model than text to video.
    """
    file = _folder(path) / "config.json"
    if not file.is_file():
        return base
    try:
        stated = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError("config.json of the weights is not JSON") from error
    if not isinstance(stated, dict):
        raise ModelError(f"config.json of the weights is {stated!r:.40}; accepted: an object")

    def refuse(name: str, accepted: object) -> ModelError:
        return ModelError(f"config.json of the weights: {name} is {stated[name]!r}; accepted: {accepted}")

    def size(name: str) -> int:
        value = stated[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise refuse(name, "a whole number above zero")
        return value

    fixed: dict[str, tuple[Any, ...]] = {
        "model_type": ("t2v",),
        "eps": (1e-6,),
        "cross_attn_norm": (True,),
        "qk_norm": ("rms_norm_across_heads", True),
        "image_dim": (None,),
        "added_kv_proj_dim": (None,),
        "patch_size": (list(base.pose.patch),),
    }
    for name, accepted in fixed.items():
        if name in stated and stated[name] not in accepted:
            raise refuse(name, repr(accepted[0]))
    sizes = {ours: size(name) for name, ours in _SIZES.items() if name in stated}
    heads = sizes.get("heads", base.heads)
    if "attention_head_dim" in stated:
        sizes["width"] = size("attention_head_dim") * heads
    width = sizes.get("width", base.width)
    if width % (2 * heads):
        raise ModelError(
            f"config.json of the weights: {width} wide with {heads} heads; accepted: heads of an even width"
        )
    channels = base.pose.channels
    for name in ("in_channels", "out_channels", "in_dim", "out_dim"):
        channels = size(name) if name.startswith("in_") and name in stated else channels
        if name in stated and size(name) != channels:
            raise refuse(name, channels)
    streams = {"rgb": replace(base.rgb, channels=channels), "pose": replace(base.pose, channels=channels)}
    return replace(base, **sizes, **streams)


def coverage(shapes: dict[str, tuple[int, ...]], network: VideoPoseTransformer, source: str) -> Coverage:
    """Check that ``shapes`` by name are just the weights that ``network`` has from Wan.

    Raises:
        WeightsError: they are not.
    """
    config = network.config
    naming = naming_of(shapes)
    if naming is None:
        raise WeightsError(source, [], sorted(shapes), {})
    ours = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    weights = key_map(config)
    wanted = {weight.name(naming): weight for weight in weights}
    missing = sorted(set(wanted) - set(shapes))
    unexpected = sorted(set(shapes) - set(wanted))
    wrong = {}
    for name in sorted(set(wanted) & set(shapes)):
        accepted = wanted[name].wan_shape(ours[wanted[name].ours], config)
        if shapes[name] != accepted:
            wrong[name] = (shapes[name], accepted)
    mapped = {weight.ours for weight in weights}
    added = sorted(set(ours) - mapped)
    unknown = [name for name in added if not any(part in name for part in ADDITIONS)]
    if missing or unexpected or wrong or unknown:
        raise WeightsError(source, missing + unknown, unexpected, wrong)
    parameters = sum(torch.Size(shape).numel() for shape in shapes.values())
    return Coverage(naming, tuple(sorted(mapped)), tuple(added), parameters)


def load_weights(network: VideoPoseTransformer, path: Path) -> Coverage:
    """Copy Wan's weights into ``network``, one tensor at a time; what Wan does not have stays as it is.

    Raises:
        ModelError: the files cannot be read, or hold whole numbers.
        WeightsError: they do not fit; the network is unchanged then.
    """
    with open_weights(path) as files:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name, file in files.items()}
        found = coverage(shapes, network, path.name)
        for name, file in files.items():
            if (kind := file.get_slice(name).get_dtype()) not in FLOATS:
                raise ModelError(f"weights {path.name!r}: {name} is stored as {kind}; accepted: {', '.join(FLOATS)}")
        ours = network.state_dict()
        with torch.no_grad():
            for weight in key_map(network.config):
                name = weight.name(found.naming)
                ours[weight.ours].copy_(weight.to_ours(files[name].get_tensor(name), network.config))
    return found


def wan_weights(network: VideoPoseTransformer, naming: Naming) -> dict[str, Tensor]:
    """The part of the network's weights that Wan has, under Wan's names."""
    ours = network.state_dict()
    config = network.config
    return {w.name(naming): w.to_wan(ours[w.ours], config).contiguous() for w in key_map(config)}


def save_weights(network: VideoPoseTransformer, path: Path, naming: Naming = "diffusers") -> None:
    """Write ``wan_weights`` as one safetensors file, atomically."""
    save_tensors(wan_weights(network, naming), path)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file atomically."""
    scratch = path.with_suffix(".tmp")
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, scratch)
        scratch.replace(path)
    except SafetensorError as error:  # how it tells of a full disk
        raise ModelError(f"{path.name} cannot be written: {error}") from error
    finally:
        scratch.unlink(missing_ok=True)


def _folder(path: Path) -> Path:
    if path.is_file():
        return path.parent
    return path / "transformer" if (path / "transformer").is_dir() else path


def _files(path: Path) -> list[Path]:
    if path.is_file():
        if path.suffix != ".safetensors":
            raise ModelError(f"weights {path.name!r} are no .safetensors file; accepted: safetensors only")
        return [path]
    folder = _folder(path)
    if not folder.is_dir():
        raise ModelError(f"weights {path.name!r} are not there; accepted: a folder or a .safetensors file")
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if len(indices) > 1:
        raise ModelError(
            f"{folder.name!r} holds {_listed('indices', [i.name for i in indices])}; accepted: one, or a file"
        )
    if indices:
        try:
            shards = sorted(set(json.loads(indices[0].read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{indices[0].name} is no index of safetensors files") from error
        if any(Path(name).name != name for name in shards):
            raise ModelError(f"{indices[0].name} names files outside of its folder")
        lost = [name for name in shards if not (folder / name).is_file()]
        if lost:
            raise ModelError(f"{indices[0].name}: {_listed('missing', lost)}")
        return [folder / name for name in shards]
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = sorted(file.name for file in folder.glob("*") if file.suffix in PICKLED)
        seen = _listed("pickled", pickled) or "nothing of the kind"
        raise ModelError(f"weights {path.name!r} hold no .safetensors file ({seen}); accepted: safetensors only")
    return files


def _listed(label: str, names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{label} {', '.join(names[:SHOWN])}{more}" if names else ""
