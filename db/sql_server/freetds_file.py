"""The file in which FreeTDS is told of servers.

A connection string cannot make FreeTDS check certificates; its file can. FreeTDS finds the file by an environment
variable, which it reads at each connection, so one file describes all servers of a process. It holds no account.
"""

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

FILE_VARIABLE = "FREETDSCONF"
DEFAULT_PORT = 1433


@dataclass(frozen=True)
class Server:
    """A server, as FreeTDS shall connect to it.

    Attributes:
        host: Name or address.
        instance: A named instance, whose port the server is asked for.
        port: Its port; by default 1433.
        tds_version: The protocol's version.
        encrypted: Whether the connection is encrypted.
        authorities: File of those who may vouch for its certificate, `system` for the system's; None for no check.
    """

    host: str
    instance: str | None
    port: int | None
    tds_version: str
    encrypted: bool
    authorities: str | None

    def write(self) -> str:
        """Give the lines of the server's section."""
        lines = {
            "host": self.host,
            "tds version": self.tds_version,
            "client charset": "UTF-8",
            "encryption": "require" if self.encrypted else "off",
        }
        if self.instance is None:
            lines["port"] = str(self.port or DEFAULT_PORT)
        else:
            lines["instance"] = self.instance
        if self.authorities is not None:
            lines |= {"ca file": self.authorities, "check certificate hostname": "yes"}
        return "".join(f"{name} = {value}\n" for name, value in lines.items())


# What this process's file holds, by name. Another connection may be about to read it, so nothing is ever taken out.
_sections: dict[str, str] = {}
_lock = threading.Lock()


def describe_server(server: Server, folder: Path) -> str:
    """Have FreeTDS's file describe a server.

    Args:
        server: The server.
        folder: Where the file may be written.

    Returns:
        The name by which FreeTDS finds the description (`SERVERNAME`).
    """
    section = server.write()
    name = f"hr-flows-{_digest(section)}"
    with _lock:
        _sections[name] = section
        os.environ[FILE_VARIABLE] = str(_write_file(folder))
    return name


def _write_file(folder: Path) -> Path:
    """Write a file that is named after what it holds: one that another process reads never changes."""
    text = "\n".join(f"[{name}]\n{section}" for name, section in sorted(_sections.items()))
    path = folder / "freetds" / f"{_digest(text)}.conf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(text)
        unfinished.replace(path)
    return path


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
