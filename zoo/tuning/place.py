"""What this process is in a search of several: Keras Tuner's three variables."""

import os
from dataclasses import dataclass

from zoo.errors import ZooError

ID = "KERASTUNER_TUNER_ID"
HOST, PORT = "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"
EXAMPLE = f"{ID}=tuner0 (or chief), {HOST}=10.0.0.1, {PORT}=8000"


@dataclass(frozen=True)
class Place:
    """One process of a search, and where its chief is."""

    id: str
    """Its name; that of the chief has "chief" in it, as for Keras Tuner."""
    host: str
    """Where the chief listens."""
    port: int
    """The port it listens at."""

    @property
    def chief(self) -> bool:
        """Whether this is the process that hands out the trials."""
        return "chief" in self.id

    @property
    def address(self) -> str:
        """The chief's `"host:port"`, `"[host]:port"` if the host has colons itself."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def from_environment() -> Place | None:
    """Return what the environment variables say; `None` if there are none.

    Raises:
        ZooError: one of the three is missing or empty, or the port is none.
    """
    given = {name: os.environ.get(name) for name in (ID, HOST, PORT)}
    if set(given.values()) == {None}:
        return None
    if missing := [name for name, value in given.items() if not value]:
        raise ZooError(
            f"{' and '.join(missing)} must be set, too, for a search of several "
            f"processes: {EXAMPLE}. Unset all three to search with one."
        )
    port = given[PORT]
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise ZooError(f"{PORT} must be a port, 1 to 65535. Received: {port!r}")
    return Place(given[ID], given[HOST].strip("[]"), int(port))


def refuse_another() -> None:
    """Raise if this process has its place already, and cannot be a chief of its own.

    Raises:
        ZooError: the three variables are set.
    """
    if from_environment():
        raise ZooError(
            f"--workers starts a chief and workers, but {ID} says that this process is "
            "one of them: leave out --workers, or unset it."
        )
