"""A mail server for tests: keeps what it accepts in a folder, and refuses, stalls or drops as it is told.

Usage: smtp.py FOLDER PORT TLS CERTIFICATE KEY LOGIN [MODE...]
PORT 0: a free one. TLS: none, starttls, or wrapped (from the first byte); with the first, certificate and key are not looked at. LOGIN: user:password, or "".
The first connections behave as the modes say, one each; later ones accept. A recipient whose name begins with `bad` is always refused.
Modes: ok, 451 and 550 (instead of taking the mail), drop (takes it and hangs up without a word), stall_banner, stall_tls, stall_data.
Prints its port once it listens.
"""

import asyncio
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

folder, port, tls, certificate, key, login, *modes = sys.argv[1:]
folder = pathlib.Path(folder)
taken = len(list(folder.glob("*.eml")))


class Server(SMTP):
    mode = "ok"

    async def _handle_client(self):
        if modes:
            self.mode = modes.pop(0)
        if self.mode == "stall_banner":
            await asyncio.sleep(3600)
        await super()._handle_client()

    async def smtp_STARTTLS(self, arg):
        if self.mode == "stall_tls":
            await self.push("220 Ready to start TLS")
            await asyncio.sleep(3600)
        await super().smtp_STARTTLS(arg)


class Keeper:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("bad"):
            return "550 5.1.1 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        global taken
        if server.mode == "stall_data":
            await asyncio.sleep(3600)
        if server.mode == "451":
            return "451 4.3.0 try again later"
        if server.mode == "550":
            return "550 5.7.1 not wanted"
        taken += 1
        part = folder / f"{taken:04}.part"
        part.write_bytes(b"X-Recipients: " + ",".join(envelope.rcpt_tos).encode() + b"\r\n" + envelope.content)
        part.rename(folder / f"{taken:04}.eml")
        if server.mode == "drop":
            server.transport.abort()
        return "250 2.0.0 OK"


def authenticator(server, session, envelope, mechanism, data):
    given = f"{data.login.decode()}:{data.password.decode()}"
    return AuthResult(success=given == login, handled=False)


async def main():
    context = None
    if tls != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    options = {"enable_SMTPUTF8": True}
    if tls == "starttls":
        options.update(tls_context=context, require_starttls=True)
    if login:
        # A wrapped connection is encrypted too, which aiosmtpd does not know.
        options.update(authenticator=authenticator, auth_required=True, auth_require_tls=tls == "starttls")
    wrapped = context if tls == "wrapped" else None
    server = await asyncio.get_running_loop().create_server(lambda: Server(Keeper(), **options), "127.0.0.1", int(port), ssl=wrapped)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
