"""What is released: the packaged template is the template for one architecture, and packing gives the same bytes."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import expansion
import pytest
from samcli.yamlhelper import yaml_parse

sys.path.insert(0, str(expansion.ROOT / "scripts"))

import package  # noqa: E402
from prefect_server.server import TOOLS  # noqa: E402

AWS = TOOLS / "aws/bin/aws"


@pytest.fixture(params=package.ARCHITECTURES)
def packaged(request):
    return request.param, package.packaged_template((expansion.ROOT / "template.yaml").read_text(), request.param)


def test_the_packaged_template_is_the_template_for_one_architecture(packaged):
    architecture, text = packaged
    source, template = yaml_parse((expansion.ROOT / "template.yaml").read_text()), yaml_parse(text)
    application = template["Metadata"].pop("AWS::ServerlessRepo::Application")
    assert (application["Name"], application["SemanticVersion"]) == ("prefect-serverless-agent", package.version())
    del source["Parameters"]["Architecture"]
    source["Globals"]["Function"].update(Architectures=[architecture])
    del source["Globals"]["Function"]["CodeUri"]
    for group in source["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]:
        group["Parameters"] = [name for name in group["Parameters"] if name != "Architecture"]
    for resource in source["Resources"].values():
        resource.pop("Metadata", None)
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "lambda.zip"
    assert json.dumps(template, sort_keys=True) == json.dumps(source, sort_keys=True)


def test_sam_validates_it(packaged, tmp_path):
    _, text = packaged
    (tmp_path / "template.yaml").write_text(text)
    command = ["sam", "validate", "--lint", "--template", tmp_path / "template.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


class Bucket(ThreadingHTTPServer):
    """As much of S3 as an upload needs."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), BucketHandler)
        self.objects = {}
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class BucketHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status):
        self.send_response_only(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self):
        self.answer(200 if self.path in self.server.objects else 404)

    def do_PUT(self):
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        self.server.objects[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200)

    def log_message(self, *_):
        pass


def test_the_aws_command_packages_it_with_the_functions_and_nothing_else(packaged, tmp_path):
    """It does not read Globals: where a function names no code, it packs the whole folder."""
    _, text = packaged
    (tmp_path / "template.yaml").write_text(text)
    shutil.copytree(expansion.ROOT / "infra", tmp_path / "infra")
    # What a bundle holds besides: the command uploads what the metadata of the serverless repository name.
    with zipfile.ZipFile(tmp_path / "lambda.zip", "w") as archive:
        archive.writestr("bootstrap", b"the functions")
    beside = {"README.md": b"read me", "LICENSE": b"the licence"}
    for name, content in beside.items():
        (tmp_path / name).write_bytes(content)
    functions_zip = (tmp_path / "lambda.zip").read_bytes()
    with Bucket() as bucket:
        address = "http://127.0.0.1:%d" % bucket.server_address[1]
        command = [AWS, "cloudformation", "package", "--region", "eu-west-1", "--template-file", "template.yaml"]
        command += ["--s3-bucket", "bucket", "--output-template-file", "packaged.yaml"]
        environment = {**os.environ, "AWS_ENDPOINT_URL_S3": address, "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        uploaded = dict(bucket.objects)
    assert sorted(uploaded.values()) == sorted([functions_zip, *beside.values()]), uploaded
    (key,) = [key for key, content in uploaded.items() if content == functions_zip]
    packaged = yaml_parse((tmp_path / "packaged.yaml").read_text())
    functions = [one["Properties"] for one in packaged["Resources"].values() if one["Type"] == "AWS::Serverless::Function"]
    assert len(functions) == 5 and {one["CodeUri"] for one in functions} == {f"s3:/{key}"}
    # Larger than what CloudFormation takes from a request, so `deploy` needs the bucket as well.
    assert (tmp_path / "packaged.yaml").stat().st_size > 51_200


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
    workflows = expansion.ROOT / ".github/workflows"
    for action in re.findall(r"uses: (\S+)", "".join(path.read_text() for path in workflows.glob("*.yml"))):
        assert re.search(r"@[0-9a-f]{40}$", action), action
    workflow = yaml_parse((workflows / "release.yml").read_text())
    targets = set(re.findall(r"^([a-z-]+):", (expansion.ROOT / "Makefile").read_text(), re.MULTILINE))
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] and "contents" in job["permissions"], name
        for step in job["steps"]:
            for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", "")):
                assert target in targets, target
    assert {name: job["permissions"] for name, job in workflow["jobs"].items() if job["permissions"] != {"contents": "read"}} == {
        "release": {"contents": "write", "id-token": "write", "attestations": "write"}
    }
