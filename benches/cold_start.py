"""What a cold start computes, in instructions of a processor (Valgrind's callgrind), which do not depend on how
fast the machine is; how many connections are opened side by side varies a little. One agent of Prefect 3, nothing due, TLS with chains of three certificates. Arguments: the binary, with its symbols.
"""

import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import billed
import distance
import functions
import processes

# The first that fits names what a function is for. A name is `file:function`.
PARTS = (
    ("signatures of certificates", r"ring.*(mont|bn_|LIMBS|limbs|bigint|rsa)"),
    ("key exchange", r"ring.*(25519|fe_|ge_|table_select)"),
    ("hashes and encryption", r"/ring-|/sha2-|/hmac-|sha2::|ring::"),
    ("the rest of TLS", r"rustls|webpki"),
    ("AWS SDK", r"/aws-|aws_(sdk|smithy|runtime|sigv4|config|types|credential)"),
    ("JSON and YAML", r"serde|saphyr|granit|indexmap|hashbrown|/itoa-|/ryu-"),
    ("our own code", r"prefect_serverless_agent|lambda::"),
    ("HTTP and runtime", r"tokio|hyper|reqwest|tower|http|futures|lambda_runtime|bytes|/mio-|/url-|tracing"),
    ("loading the program", r"/elf/|ld-linux|dl-"),
    ("memory", r"malloc|alloc|mem(cpy|move|set|cmp)|str/"),
)
REST = "the rest"
LINE = re.compile(r"^\s*([\d,]+) \(\s*[\d.]+%\)\s+(\S.*)$")
# What says nothing of a function: where crates lie, and the binary it is in.
NOISE = re.compile(r"/\S*/index\.crates\.io-[0-9a-f]+|/rustc/[0-9a-f]+/library|\s\[[^]]*\]$")


def counted(binary, folder):
    """Callgrind's count of one cold start, up to the end of its first poll."""
    wrapper = folder / "counted"
    found = folder / "found.out"
    wrapper.write_text(f"#!/bin/sh\nexec valgrind --tool=callgrind --callgrind-out-file={found} {binary}\n")
    wrapper.chmod(0o755)
    with processes.running_world() as world, distance.far_away(0.0, world.aws, world.prefect3) as ((aws, prefect), root, hang_up):
        variables = {"AWS_ENDPOINT_URL": aws, "AWS_CA_BUNDLE": str(root)}
        bench = billed.Bench(world, prefect, binary, variables, hang_up)
        bench.configured(root.read_text(), 1)
        # The agent is registered by it.
        bench.idle(None)
        bench.binary = wrapper
        with bench.function() as function:
            function.answer()
            function.process.send_signal(signal.SIGTERM)
            function.process.wait(functions.ANSWER_SECONDS)
    return found


def parts(found):
    """Instructions by what they are for."""
    command = ["callgrind_annotate", "--auto=no", "--threshold=99.9", found]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    totals = dict.fromkeys([name for name, _ in PARTS] + [REST], 0)
    for line in filter(None, map(LINE.match, said.splitlines())):
        count, place = int(line[1].replace(",", "")), NOISE.sub("", line[2])
        if "PROGRAM TOTALS" not in place:
            totals[next((name for name, fits in PARTS if re.search(fits, place)), REST)] += count
    return totals


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        totals = parts(counted(Path(binary).resolve(), Path(folder)))
    whole = sum(totals.values())
    for name, count in sorted(totals.items(), key=lambda part: -part[1]):
        print(f"{name:<30} {count / 1e6:6.1f} million {count / whole:6.1%}")
    print(f"{'in all':<30} {whole / 1e6:6.1f} million")


if __name__ == "__main__":
    main(*sys.argv[1:])
