"""Speaks TLS before a server that does not: takes connections, and moves bytes.

Usage: tls.py PORT CERTIFICATE KEY TARGET_PORT
Prints a line once it listens.
"""

import asyncio
import ssl
import sys

port, certificate, key, target = sys.argv[1:]


async def move(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def serve(reader, writer):
    to_server, from_us = await asyncio.open_connection("127.0.0.1", int(target))
    await asyncio.gather(move(reader, from_us), move(to_server, writer))


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(serve, "127.0.0.1", int(port), ssl=context)
    print("listens", flush=True)
    await server.serve_forever()


asyncio.run(main())
