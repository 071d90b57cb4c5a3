#!/usr/bin/env python3
"""Derives src/ecs_model/shapes.txt from the newest botocore among the pinned environments: `scripts/ecs_shapes.py`.

What is kept are the complete inputs of RunTask and RegisterTaskDefinition, as far as botocore checks them: members,
required ones, types, smallest lengths and values. `--check` writes nothing and fails where the file is not that.

The file says first of which botocore it is, then one structure after the other, its members indented:

    botocore 1.44.8
    Ulimit
     name! string            `!`: required
     softLimit! integer
    Tag
     key string>=1           at least one character; `integer>=1`: at least one
    LogConfiguration
     options {string}        a map of texts
     secretOptions [Secret]  a list of structures
    SharingStrategy |        a union: exactly one of its members
"""

import gzip
import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHAPES = ROOT / "src/ecs_model/shapes.txt"
OPERATIONS = ("RunTask", "RegisterTaskDefinition")
SCALARS = ("string", "integer", "boolean")


def newest_pin():
    """(version, environment) of the newest botocore that scripts/requirements pins."""
    pins = []
    for file in sorted((ROOT / "scripts/requirements").glob("*.txt")):
        for version in re.findall(r"^botocore==([0-9.]+)$", file.read_text(), re.MULTILINE):
            pins.append((tuple(map(int, version.split("."))), version, file.stem))
    _, version, environment = max(pins)
    return version, environment


def service_model(version, environment):
    """The model of ECS that this environment has installed (`scripts/tools.sh`)."""
    home = Path(os.environ.get("PSA_TOOLS", ROOT / ".tools")) / environment
    packages = next(iter(home.glob("lib/python3*/site-packages")), None)
    if packages is None or not (packages / f"botocore-{version}.dist-info").is_dir():
        raise SystemExit(f"botocore {version} is not installed: scripts/tools.sh {environment}")
    (file,) = (packages / "botocore/data/ecs").glob("*/service-2.json*")
    opened = gzip.open(file) if file.suffix == ".gz" else open(file, "rb")
    with opened as stream:
        return json.load(stream)


def derive(version, model):
    """The text of the file."""
    shapes, structures = model["shapes"], {}

    def written(name):
        shape = shapes[name]
        kind = shape["type"]
        if kind == "list":
            text = f"[{written(shape['member']['shape'])}]"
        elif kind == "map":
            if shapes[shape["key"]["shape"]]["type"] != "string" or "min" in shapes[shape["key"]["shape"]]:
                raise SystemExit(f"{name}: keys that are checked are not known to {SHAPES.name}")
            text = f"{{{written(shape['value']['shape'])}}}"
        elif kind == "structure":
            structure(name, shape)
            return name
        elif kind in SCALARS:
            text = kind
        else:
            raise SystemExit(f"{name}: the type {kind} is not known to {SHAPES.name}")
        least = shape.get("min")
        # No length is less than zero, but a number may be; that of a map is not checked.
        is_checked = least is not None and kind != "map" and (least > 0 or kind == "integer")
        return f"{text}>={least}" if is_checked else text

    def structure(name, shape):
        if name in structures:
            return
        lines = structures[name] = [f"{name} |" if shape.get("union") else name]
        required = shape.get("required", [])
        for member, reference in shape["members"].items():
            lines.append(f" {member}{'!' if member in required else ''} {written(reference['shape'])}")

    for operation in OPERATIONS:
        written(model["operations"][operation]["input"]["shape"])
    return "\n".join([f"botocore {version}", *(line for lines in structures.values() for line in lines), ""])


def main(arguments):
    version, environment = newest_pin()
    text = derive(version, service_model(version, environment))
    if arguments == ["--check"]:
        if SHAPES.read_text() != text:
            raise SystemExit(f"{SHAPES.relative_to(ROOT)} is not that of botocore {version}: run scripts/ecs_shapes.py")
    elif not arguments:
        SHAPES.write_text(text)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
