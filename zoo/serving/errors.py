"""The one exception that both APIs turn into an answer."""

import sys
import traceback

import grpc


class Refused(Exception):
    """A request that is not answered; the message is one line that says why.

    Attributes:
        status: of the HTTP answer.
        code: of the gRPC answer.
    """

    def __init__(self, message: str, status: int, code: grpc.StatusCode):
        super().__init__(message)
        self.status = status
        self.code = code


def invalid(message: str) -> Refused:
    """Return the answer to a request that no server could answer."""
    return Refused(message, 400, grpc.StatusCode.INVALID_ARGUMENT)


def not_found(message: str) -> Refused:
    """Return the answer to a request for a model or version that is not served."""
    return Refused(message, 404, grpc.StatusCode.NOT_FOUND)


def too_large(message: str) -> Refused:
    """Return the answer to a request above a limit."""
    return Refused(message, 413, grpc.StatusCode.RESOURCE_EXHAUSTED)


def overloaded(message: str) -> Refused:
    """Return the answer to a request that comes when there is no room for it."""
    return Refused(message, 503, grpc.StatusCode.UNAVAILABLE)


def failed(message: str) -> Refused:
    """Return the answer to a request that fails for no fault of its own."""
    return Refused(message, 500, grpc.StatusCode.INTERNAL)


_reported: set[tuple] = set()


def report(error: Exception) -> None:
    """Print the traceback of a defect, the first time that it comes from its place.

    Who can cause it once can cause it a million times, and fill a disk with it.
    """
    frames = traceback.extract_tb(error.__traceback__)
    place = (type(error), *((frame.filename, frame.lineno) for frame in frames[-1:]))
    if place not in _reported:
        _reported.add(place)
        traceback.print_exception(error, file=sys.stderr)
