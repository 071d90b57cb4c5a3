"""`sam build` makes one small binary for all functions. Cargo's target directory is the project's own: built once."""

import re
import subprocess
import zipfile

import expansion
import pytest
from samcli.yamlhelper import yaml_parse

BUILD_SECONDS = 1800  # a first release build with fat LTO, on a small and busy machine
ZIP_LIMIT = 5_200_000  # bytes
# Amazon Linux 2023 has glibc 2.34.
NEWEST_GLIBC = (2, 34)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sam") / "build"
    # The machine's own architecture needs no other Rust target.
    done = subprocess.run(
        ["sam", "build", "--parameter-overrides", "Architecture=x86_64", "--build-dir", directory],
        cwd=expansion.ROOT, capture_output=True, text=True, timeout=BUILD_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return directory, done.stdout + done.stderr


def binaries(directory):
    template = yaml_parse((directory / "template.yaml").read_text())
    functions = [r for r in template["Resources"].values() if r["Type"] == "AWS::Serverless::Function"]
    assert len(functions) == 5
    return [directory / function["Properties"]["CodeUri"] / "bootstrap" for function in functions]


def test_it_builds_once_for_all_functions(build):
    directory, output = build
    assert output.count("Running RustCargoLambdaBuilder:CargoLambdaBuild") == 1, output
    first, *others = binaries(directory)
    assert all(other.read_bytes() == first.read_bytes() for other in others)


def test_the_artifact_is_small(build, tmp_path):
    binary = binaries(build[0])[0]
    archive = tmp_path / "lambda.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(binary, "bootstrap")
    size = archive.stat().st_size
    print(f"binary {binary.stat().st_size / 1e6:.2f} MB, zip {size / 1e6:.2f} MB")
    assert size < ZIP_LIMIT


def test_the_binary_runs_on_amazon_linux_2023(build):
    binary = binaries(build[0])[0]
    assert binary.stat().st_mode & 0o111
    content = binary.read_bytes()
    assert content[:4] == b"\x7fELF"
    wanted = {tuple(map(int, version)) for version in re.findall(rb"GLIBC_(\d+)\.(\d+)", content)}
    assert max(wanted) <= NEWEST_GLIBC
