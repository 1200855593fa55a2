"""Settings in force: defaults, below a TOML file, below the environment, below the command line."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, ValidationError, create_model
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, TomlConfigSettingsSource

from animax.errors import OptionError
from animax.service.access.settings import AuthSettings
from animax.service.config import ServerConfig, TlsFiles
from animax.service.configuration.keys import SECRETS, Key, every_key, tables
from animax.service.jobs.settings import JobSettings, in_folder

DEFAULT, FILE, ENVIRONMENT, COMMAND_LINE = "default", "file", "environment", "command line"
SERVICE_LINK = re.compile(r"tcp://")
"""Kubernetes sets ANIMAX_PORT=tcp://… in every pod beside a Service that is called animax."""
PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^@]*@")
FILE_VARIABLE = "ANIMAX_CONFIG"
GUARDS = {
    "auth": "a token_file, a jwks_file, or no table: then everybody may call",
    "tls": "a certificate and its key, or no table: then nothing is encrypted",
}
"""Tables that nobody writes without meaning them; empty, they would leave a server open."""
_Settings: tuple[type[BaseSettings], dict[str, Key]] | None = None


@dataclass(frozen=True)
class Value:
    """A setting in force: its key, what it is, and where that comes from."""

    key: Key
    value: Any
    origin: str
    place: str = ""

    @property
    def told(self) -> str:
        """Its name, and where it stands."""
        return told(self.key.name, self.place)

    def shown(self) -> str:
        """As TOML would have it; without passwords."""
        return written(masked(self.key.name, self.value))


@dataclass(frozen=True)
class InForce:
    """All settings: as the server takes them, and one by one."""

    config: ServerConfig
    values: tuple[Value, ...]


def in_force(
    file: Path | None = None, given: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> InForce:
    """What a server is to be set up with.

    Args:
        file: TOML; None takes that of ``ANIMAX_CONFIG``, if any.
        given: values of the command line by key (``jobs.lanes``).
        environment: default: the process's own.

    Raises:
        OptionError: a key or a value that is not accepted; its name says where it stands.
    """
    environment = os.environ if environment is None else environment
    if file is None and environment.get(FILE_VARIABLE):
        file = Path(environment[FILE_VARIABLE])
    model, keys = _model()
    in_file = _from_file(model, file)
    sources = {
        COMMAND_LINE: dict(given or {}),
        ENVIRONMENT: _from_environment(keys, environment),
        FILE: _flat(in_file),
    }
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin in (FILE, ENVIRONMENT, COMMAND_LINE):
        merged.update(sources[origin])
        origins.update(dict.fromkeys(sources[origin], origin))
    for table, accepted in GUARDS.items():
        if in_file.get(table) == {} and not any(name.startswith(f"{table}.") for name in merged):
            raise OptionError(
                f"{table} ({file.name if file else ''})", "an empty table, which guards nothing", accepted
            )

    def place(name: str) -> str:
        # what is unknown may be a whole table
        origin = origins.get(name) or next((origins[key] for key in origins if key.startswith(f"{name}.")), None)
        if origin == FILE and file is not None:
            return file.name
        return keys[name].variable if origin == ENVIRONMENT and name in keys else ""

    def named(name: str) -> str:
        return told(name, place(name))

    try:
        checked = model(**_nested(merged)).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise _option_error(error, keys, named) from None
    flat = _flat(checked)
    if file is not None:  # a file that moves takes what it names along
        for name, value in flat.items():
            if isinstance(value, Path) and origins[name] == FILE:
                flat[name] = file.absolute().parent / value
    values = tuple(
        Value(key, flat.get(name, key.default), origins.get(name, DEFAULT), place(name)) for name, key in keys.items()
    )
    return InForce(_config(flat, named), values)


def unused_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like ours, but name no key."""
    known = {key.variable for key in every_key().values()}
    known |= {FILE_VARIABLE, "ANIMAX_MODELS", "ANIMAX_TOKEN", "ANIMAX_TENSORRT_CACHE"}
    known |= {"ANIMAX_DATABASE_PASSWORD"}  # of deploy/compose.yaml
    return sorted(name for name in environment if name.startswith("ANIMAX_") and name not in known)


def told(name: str, place: str) -> str:
    """A key, and the file or variable that sets it."""
    return f"{name} ({place})" if place else name


def masked(name: str, value: Any) -> Any:
    """A value as it may be shown."""
    return PASSWORD.sub(r"\1:***@", value) if name in SECRETS and isinstance(value, str) else value


def written(value: Any) -> str:
    """A value as TOML has it; ``unset`` for None."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(written(part) for part in value) + "]"
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _model() -> tuple[type[BaseSettings], dict[str, Key]]:
    """The keys as a model of pydantic's; made once."""
    global _Settings
    if _Settings is None:
        keys = every_key()
        strict = ConfigDict(extra="forbid")
        parts: dict[str, dict[str, Any]] = {}
        for key in keys.values():
            field = (_annotation(key), key.default)
            parts.setdefault(key.table, {})[key.name.rpartition(".")[2]] = field
        top: dict[str, Any] = parts.pop("")
        groups: dict[str, Any] = {
            name: (create_model(name.title(), __config__=strict, **fields) | None, None)
            for name, fields in parts.items()
        }

        class Base(BaseSettings):
            model_config = {"extra": "forbid"}

            @classmethod
            def settings_customise_sources(  # type: ignore[override]
                cls, _: type[BaseSettings], init_settings: Any, *__: Any, **___: Any
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                return (init_settings,)  # told all there is; see in_force, which knows what came from where

        made: type[BaseSettings] = create_model("Settings", __base__=Base, **{**top, **groups})
        _Settings = made, keys
    return _Settings


def _annotation(key: Key) -> Any:
    kind: Any = tuple[str, ...] if key.kind is tuple else key.kind
    kind = Annotated[kind, BeforeValidator(_listed if key.kind is tuple else _plain(key.kind))]
    return kind | None if key.optional else kind


def _listed(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _plain(kind: type) -> Any:
    def check(value: Any) -> Any:
        if isinstance(value, bool) and kind is not bool:
            raise ValueError("true and false are no numbers")  # Python takes them for 1 and 0
        return value

    return check


def _from_environment(keys: Mapping[str, Key], environment: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name, key in keys.items():
        text = environment.get(key.variable, "")
        if text and not (name == "port" and SERVICE_LINK.match(text)):
            given[name] = None if key.optional and text == "none" else text
    return given


def _from_file(model: type[BaseSettings], file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    if not file.is_file():
        raise OptionError("config", str(file), "a TOML file that is there")
    try:
        read: InitSettingsSource = TomlConfigSettingsSource(model, file)
    except ValueError as error:  # of TOML, or bytes that are no text
        raise OptionError("config", file.name, f"TOML in UTF-8; {error}") from None
    except OSError as error:
        raise OptionError("config", file.name, f"a file that can be read ({error.strerror})") from None
    return read()


def _flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{inner}": part for inner, part in value.items()})
        else:
            flat[name] = value
    return flat


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        table, _, inner = name.partition(".")
        if inner and isinstance(nested.setdefault(table, {}), dict):
            nested[table][inner] = value
        elif not inner:
            nested[name] = value
    return nested


def _option_error(error: ValidationError, keys: Mapping[str, Key], named: Any) -> OptionError:
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"][:2] if not isinstance(part, int))
    while name and name not in keys and first["type"] != "extra_forbidden" and "." in name:
        name = name.rpartition(".")[0]
    if first["type"] == "extra_forbidden":
        if isinstance(first["input"], Mapping):
            return OptionError(named(name), "no table", ", ".join(table for table in tables() if table))
        close = difflib.get_close_matches(name, [*tables(), *keys], 3, 0.6)
        table = name.rpartition(".")[0]
        accepted = ", ".join(close) or ", ".join(key for key in keys if keys[key].table == table) or ", ".join(keys)
        return OptionError(named(name), "no key", accepted)
    if name not in keys:
        accepted = f"a table with {', '.join(key for key in keys if keys[key].table == name)}"
        return OptionError(named(name), first["input"], accepted)
    seen = "not a text" if name in SECRETS else first["input"]
    return OptionError(named(name), seen, keys[name].accepted)


def _config(flat: dict[str, Any], named: Any) -> ServerConfig:
    def part(table: str) -> dict[str, Any]:
        return {name.rpartition(".")[2]: value for name, value in flat.items() if name.rpartition(".")[0] == table}

    top, tls, auth = part(""), part("tls"), part("auth")
    table = ""
    try:
        given = {name: value for name, value in top.items() if name not in ("tls", "auth", "jobs")}
        table = "tls."
        if any(value is not None for value in tls.values()):
            if tls.get("certificate") is None or tls.get("key") is None:
                raise OptionError("certificate", str(tls.get("certificate") or ""), "a certificate and its key, both")
            given["tls"] = TlsFiles(**tls)
        table = "auth."
        if any(value is not None for value in auth.values()):
            given["auth"] = AuthSettings(**auth)
        table = "jobs."
        given["jobs"] = store(part("jobs"))
        table = ""
        return ServerConfig(**given)
    except OptionError as error:
        raise OptionError(named(table + error.name), error.seen, error.accepted) from None


def store(given: Mapping[str, Any]) -> JobSettings | None:
    """The job store that the keys of the table ``jobs`` describe; None without one.

    Raises:
        OptionError: a value is out of range, or a folder is given that nothing would be kept in.
    """
    limits = {name: value for name, value in given.items() if name not in ("enabled", "data", "database", "blobs")}
    data, database, blobs = (given.get(name) for name in ("data", "database", "blobs"))
    if not given.get("enabled", True):
        return None
    if database and blobs:
        return JobSettings(database, blobs, **limits)
    settings = in_folder(data or default_folder(), **limits)
    return replace(settings, database=database or settings.database, blobs=blobs or settings.blobs)


def default_folder() -> Path:
    """Where this user's data goes."""
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "animax"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "animax"
