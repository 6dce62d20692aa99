"""The server's process: `python -m tests.servers.tds.program PORT CONTROL_PORT FOLDER [OPTIONS]` (see `TdsServer`).

The second port takes commands, each a line of JSON, and answers with a line of JSON.
"""

import argparse
import itertools
import json
import socket
import socketserver
import ssl
import threading
from pathlib import Path
from typing import Any

from tests.servers.tds.answers import KeptAnswers
from tests.servers.tds.served import Served
from tests.servers.tds.session import Session


class Control(socketserver.StreamRequestHandler):
    """Carries out a test's commands."""

    served: Served

    def handle(self) -> None:
        """Answer one command."""
        command = json.loads(self.rfile.readline())
        answer = getattr(self, f"do_{command.pop('do')}")(**command)
        self.wfile.write(json.dumps(answer).encode() + b"\n")

    def do_misbehave(self, **fault: Any) -> None:
        self.served.faults.add(**fault)

    def do_behave(self) -> None:
        self.served.faults.clear()

    def do_statements(self) -> list[str]:
        return list(self.served.statements)

    def do_close(self, *, only_idle: bool) -> int:
        ended = [each for each in list(self.served.sessions) if each.is_idle or not only_idle]
        for session in ended:
            session.end()
        for session in ended:
            session.join()
        return len(ended)

    def do_sessions(self) -> list[dict[str, Any]]:
        return [
            {
                "database": each.login.database,
                "application": each.login.application,
                "encrypted": each.is_encrypted,
                "read_only_intent": each.login.read_only_intent,
            }
            for each in list(self.served.sessions)
            if each.login is not None
        ]


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("control_port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--account", nargs=2, action="append", required=True)
    parser.add_argument("--database", default="master")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--require-encryption", action="store_true")
    parser.add_argument("--keep-answers", type=Path)
    options = parser.parse_args()
    served = Served(
        folder=options.folder,
        accounts=dict(options.account),
        default_database=options.database,
        tls=None if options.certificate is None else _tls(options.certificate),
        encryption_required=options.require_encryption,
        answers=KeptAnswers(options.keep_answers),
    )
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        control = socketserver.ThreadingTCPServer(
            ("127.0.0.1", options.control_port), type("Control", (Control,), {"served": served})
        )
        threading.Thread(target=control.serve_forever, daemon=True).start()
        for number in itertools.count(51):
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Session(number, connection, served).start()


def _tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # TDS 7 cannot carry the messages that TLS 1.3 sends after its handshake.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate)
    return context


if __name__ == "__main__":
    main()
