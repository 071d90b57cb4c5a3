"""What lies between a function in Lambda and those it asks: TLS with a chain of certificates as AWS has it, and distance.

Two steps, one connection each: bytes are held up half a round trip in each direction, whatever they are; behind that TLS
ends, and the plain request goes on to the fakes. So a handshake costs the round trips and the processor time that it
costs there.
"""

import asyncio
import contextlib
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path

# A leaf, two between, a root, RSA with 2,048 bits each: what AWS's endpoints show.
BETWEEN = 2


def _certificates(folder):
    """A root and a chain that it has signed, for 127.0.0.1; (root, chain, key)."""

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True, timeout=60)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", "/CN=root of the bench", "-keyout", "0.key", "-out", "0.pem")
    for number in range(1, BETWEEN + 2):
        is_leaf = number == BETWEEN + 1
        extensions = "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE" if is_leaf else "basicConstraints=critical,CA:TRUE"
        (folder / f"{number}.ext").write_text(extensions)
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN=number {number}", "-keyout", f"{number}.key", "-out", f"{number}.csr")
        issuer = number - 1
        signing = ("-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-set_serial", number, "-days", 2, "-extfile", f"{number}.ext")
        openssl("x509", "-req", "-in", f"{number}.csr", *signing, "-out", f"{number}.pem")
    chain = folder / "chain.pem"
    chain.write_text("".join((folder / f"{number}.pem").read_text() for number in range(BETWEEN + 1, 0, -1)))
    return folder / "0.pem", chain, folder / f"{BETWEEN + 1}.key"


async def _copy(reader, writer, seconds=0.0):
    """Bytes arrive so many seconds after they were sent, and in order; more may be on their way at once."""
    loop, arrives = asyncio.get_running_loop(), asyncio.Queue()

    async def deliver():
        while (parcel := await arrives.get()) is not None:
            at, sent = parcel
            await asyncio.sleep(max(0.0, at - loop.time()))
            writer.write(sent)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof() if writer.can_write_eof() else writer.close()

    delivering = asyncio.create_task(deliver())
    with contextlib.suppress(OSError):
        while sent := await reader.read(1 << 16):
            arrives.put_nowait((loop.time() + seconds, sent))
    arrives.put_nowait(None)
    with contextlib.suppress(OSError):
        await delivering


def _relay(host, port, half, opens, known):
    """A handler of connections that passes their bytes on to `host:port`. `opens`: until a connection is there. `known`
    holds those that stand.
    """

    async def relay(reader, writer):
        known.add(writer)
        try:
            await asyncio.sleep(opens)
            far_reader, far_writer = await asyncio.open_connection(host, port)
            await asyncio.gather(_copy(reader, far_writer, half), _copy(far_reader, writer, half))
            far_writer.close()
        except OSError:
            pass
        finally:
            known.discard(writer)
            writer.close()

    return relay


@contextlib.contextmanager
def far_away(round_trip_seconds, *plain):
    """`https://…` for each `http://host:port…`, the file of the root that signs for them, and a function that ends all
    connections: so they are found by a function that was frozen for a minute.
    """
    with tempfile.TemporaryDirectory(prefix="bench-tls-") as folder:
        root, chain, key = _certificates(Path(folder))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        loop, known = asyncio.new_event_loop(), set()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()

        async def listen(url):
            address, _, path = url.removeprefix("http://").partition("/")
            host, port = address.split(":")
            end = await asyncio.start_server(_relay(host, int(port), 0.0, 0.0, set()), "127.0.0.1", 0, ssl=context)
            near = end.sockets[0].getsockname()[1]
            # The handshake of TCP is a round trip before anything is said.
            way = _relay("127.0.0.1", near, round_trip_seconds / 2, round_trip_seconds, known)
            start = await asyncio.start_server(way, "127.0.0.1", 0)
            return f"https://127.0.0.1:{start.sockets[0].getsockname()[1]}/{path}".rstrip("/")

        def hang_up():
            ended = threading.Event()

            def close():
                for writer in list(known):
                    writer.close()
                loop.call_later(2 * round_trip_seconds, ended.set)

            loop.call_soon_threadsafe(close)
            assert ended.wait(10), "the connections do not end"

        try:
            ask = lambda url: asyncio.run_coroutine_threadsafe(listen(url), loop).result(timeout=30)  # noqa: E731
            yield [ask(url) for url in plain], root, hang_up
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=10)
