"""What is released: the packaged template is the template for one architecture, and packing gives the same bytes."""

import json
import re
import subprocess
import sys
import zipfile

import expansion
import pytest
from samcli.yamlhelper import yaml_parse

sys.path.insert(0, str(expansion.ROOT / "scripts"))

import package  # noqa: E402


@pytest.fixture(params=package.ARCHITECTURES)
def packaged(request):
    return request.param, package.packaged_template((expansion.ROOT / "template.yaml").read_text(), request.param)


def test_the_packaged_template_is_the_template_for_one_architecture(packaged):
    architecture, text = packaged
    source, template = yaml_parse((expansion.ROOT / "template.yaml").read_text()), yaml_parse(text)
    application = template["Metadata"].pop("AWS::ServerlessRepo::Application")
    assert (application["Name"], application["SemanticVersion"]) == ("prefect-serverless-agent", package.version())
    del source["Parameters"]["Architecture"]
    source["Globals"]["Function"].update(CodeUri="lambda.zip", Architectures=[architecture])
    for group in source["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]:
        group["Parameters"] = [name for name in group["Parameters"] if name != "Architecture"]
    for resource in source["Resources"].values():
        resource.pop("Metadata", None)
    assert json.dumps(template, sort_keys=True) == json.dumps(source, sort_keys=True)


def test_sam_validates_it(packaged, tmp_path):
    _, text = packaged
    (tmp_path / "template.yaml").write_text(text)
    command = ["sam", "validate", "--lint", "--template", tmp_path / "template.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_packing_gives_the_same_bytes_and_an_executable(tmp_path):
    bootstrap = tmp_path / "bootstrap"
    bootstrap.write_bytes(b"\x7fELF" + bytes(range(256)) * 64)
    packed = []
    for name in ("one.zip", "two.zip"):
        entry, content = package.zipped(bootstrap)
        with zipfile.ZipFile(tmp_path / name, "w", compresslevel=9) as archive:
            archive.writestr(entry, content)
        packed.append((tmp_path / name).read_bytes())
    assert packed[0] == packed[1]
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        (entry,) = archive.infolist()
        assert (entry.filename, entry.external_attr >> 16) == ("bootstrap", 0o100755)


def test_a_template_that_has_changed_is_noticed():
    with pytest.raises(SystemExit, match="CodeUri"):
        package.packaged_template((expansion.ROOT / "template.yaml").read_text().replace("CodeUri: .", "CodeUri: ./"), "arm64")


def test_release_notes_are_those_of_the_version_that_is_tagged():
    changelog = f"# Changelog\n\n## [Unreleased]\n\n- later\n\n## [{package.version()}] - 2026-12-01\n\n- now\n\n## [0.0.1]\n\n- before\n"
    assert package.notes(f"v{package.version()}", changelog) == "- now\n"
    for tag, text, reason in [
        ("v9.9.9", changelog, "the tag is v9.9.9"),
        (f"v{package.version()}", "# Changelog\n\n## [Unreleased]\n\n- later\n", "says nothing of version"),
    ]:
        with pytest.raises(SystemExit, match=reason):
            package.notes(tag, text)


def test_a_release_runs_nothing_but_what_is_tested_here():
    """Its steps are `make` targets that exist and package.py; its actions are pinned; no job may do more than it needs."""
    workflow = yaml_parse((expansion.ROOT / ".github/workflows/release.yml").read_text())
    targets = set(re.findall(r"^([a-z-]+):", (expansion.ROOT / "Makefile").read_text(), re.MULTILINE))
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] and "contents" in job["permissions"], name
        for step in job["steps"]:
            if "uses" in step:
                assert re.search(r"@[0-9a-f]{40}$", step["uses"]), step["uses"]
            for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", "")):
                assert target in targets, target
    assert {name: job["permissions"] for name, job in workflow["jobs"].items() if job["permissions"] != {"contents": "read"}} == {
        "release": {"contents": "write", "id-token": "write", "attestations": "write"}
    }
