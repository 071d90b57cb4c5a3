#!/usr/bin/env python3
"""Lays out what is released besides the command: the functions' zip, the template that goes with it, the stacks beside them.

    package.py layout ARCHITECTURE BOOTSTRAP   target/package/wheel/…/share: lambda-ARCHITECTURE.zip, template-ARCHITECTURE.yaml
    package.py sums DIRECTORY                  DIRECTORY/SHA256SUMS over the files there, with their sizes on the terminal
    package.py notes TAG                       what CHANGELOG.md says of the version that this tag (v1.2.3) names

The same input gives the same bytes: the zip has no times and no users in it. The template is derived from template.yaml,
so that there is one to keep.
"""

import hashlib
import re
import shutil
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARE = ROOT / "target/package/wheel/data/share/prefect-serverless-agent"
ARCHITECTURES = ("arm64", "x86_64")
# A function's zip may have 50 MB; ours is held to what a cold start was measured with.
LARGEST_ZIP = 5_200_000

APPLICATION = """\
  AWS::ServerlessRepo::Application:
    Name: prefect-serverless-agent
    Description: Prefect's agent and worker as a scheduled Lambda function
    Author: The developers of prefect-serverless-agent
    SpdxLicenseId: Apache-2.0
    LicenseUrl: LICENSE
    ReadmeUrl: README.md
    Labels: [prefect, ecs, fargate, workflow]
    SemanticVersion: {version}
"""


def version():
    """Of the package, as Cargo has it."""
    return re.search(r'^version = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]


def replaced(text, old, new, times):
    """Every place is known, so that a template that has changed is noticed here and not by whoever deploys it."""
    found = len(re.findall(old, text, re.MULTILINE))
    if found != times:
        raise SystemExit(f"package.py: template.yaml has {found} of {old!r}, {times} are expected")
    return re.sub(old, new, text, flags=re.MULTILINE)


def packaged_template(source, architecture):
    """The template for functions that are built already, for one architecture: there is no choice to offer."""
    text = replaced(source, r"^    # The functions share one build: [^\n]*\n", "", 1)
    text = replaced(text, r"^    Metadata:\n      BuildMethod: [^\n]*\n      BuildProperties:\n(?:        [^\n]*\n)+", "", 5)
    # Said of each function: `aws cloudformation package` does not read Globals, and packs the folder where it finds nothing.
    text = replaced(text, r"^    CodeUri: \.\n", "", 1)
    function = r"^(    Type: AWS::Serverless::Function\n(?:    (?!Properties)[^\n]*\n)*    Properties:\n)"
    text = replaced(text, function, r"\1      CodeUri: lambda.zip\n", 5)
    text = replaced(text, r"^    Architectures: \[!Ref Architecture\]$", f"    Architectures: [{architecture}]", 1)
    text = replaced(text, r"^          - Architecture\n", "", 1)
    text = replaced(text, r"^  Architecture:\n(?:    [^\n]*\n)+", "", 1)
    return replaced(text, r"^Metadata:\n", "Metadata:\n" + APPLICATION.format(version=version()), 1)


def zipped(bootstrap):
    """The functions' zip: `bootstrap` alone, executable."""
    entry = zipfile.ZipInfo("bootstrap", (1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o100755 << 16
    entry.create_system = 3
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry, bootstrap.read_bytes()


def layout(architecture, bootstrap):
    if architecture not in ARCHITECTURES:
        raise SystemExit(f"package.py: {architecture!r} is none of {', '.join(ARCHITECTURES)}")
    SHARE.mkdir(parents=True, exist_ok=True)
    target = SHARE / f"lambda-{architecture}.zip"
    entry, content = zipped(bootstrap)
    with zipfile.ZipFile(target, "w", compresslevel=9) as archive:
        archive.writestr(entry, content)
    if target.stat().st_size > LARGEST_ZIP:
        raise SystemExit(f"package.py: {target.name} has {target.stat().st_size} bytes, {LARGEST_ZIP} are allowed")
    template = packaged_template((ROOT / "template.yaml").read_text(), architecture)
    (SHARE / f"template-{architecture}.yaml").write_text(template)
    shutil.copytree(ROOT / "infra", SHARE / "infra", dirs_exist_ok=True)
    for name in ("LICENSE", "samconfig.toml"):
        shutil.copyfile(ROOT / name, SHARE / name)
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1e6:.2f} MB")
    for missing in ARCHITECTURES:
        if not (SHARE / f"lambda-{missing}.zip").exists():
            print(f"no functions for {missing}: they are built on such a machine, or where its Rust target is installed")


def sums(directory):
    files = sorted(path for path in directory.iterdir() if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (directory / "SHA256SUMS").write_text("".join(lines))
    for path in files:
        print(f"{path.stat().st_size / 1e6:8.2f} MB  {path.name}")


def notes(tag, changelog):
    """The tag, the package and the changelog must speak of one version."""
    if tag != f"v{version()}":
        raise SystemExit(f"package.py: the tag is {tag}, and Cargo.toml has version {version()}")
    section = re.search(rf"^## \[{re.escape(version())}\][^\n]*\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not section or not section[1].strip():
        raise SystemExit(f"package.py: CHANGELOG.md says nothing of version {version()}")
    return section[1].strip() + "\n"


def main(arguments):
    match arguments:
        case ["layout", architecture, bootstrap]:
            layout(architecture, Path(bootstrap))
        case ["sums", directory]:
            sums(Path(directory))
        case ["notes", tag]:
            print(notes(tag, (ROOT / "CHANGELOG.md").read_text()), end="")
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
