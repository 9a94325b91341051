"""Ctrl-C and SIGTERM as a wish, which a loop grants when it can do so in order."""

import contextlib
import os
import signal
import sys
import threading
from types import FrameType


@contextlib.contextmanager
def sigterm_raises():
    """Have SIGTERM raise `SystemExit`, code 143, so that what is open is closed.

    Only in the main thread; in another it changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number, frame):
        if isinstance(sys.exc_info()[1], SystemExit):
            return  # it is on its way out
        # Python drops what is raised in a destructor or a callback of weakref: again.
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        sys.exit(128 + signal.SIGTERM)

    before = {
        number: signal.signal(number, end)
        for number in (signal.SIGTERM, signal.SIGALRM)
    }
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


class Wishes:
    """Notes down that the process was asked to end, while a certain loop runs.

    A second Ctrl-C ends it at once. Once the loop is over, even by an exception, the
    signals mean what they meant before. In another thread than the main one, where
    Python hands no signals out, nothing is noted down.

    Args:
        loop: the frame of the function that runs the loop.

    Attributes:
        asked: the number of the signal that came; 0 if none did.
    """

    def __init__(self, loop: FrameType):
        self.asked, self._loop, self._before = 0, loop, {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                _clear_away(signal.getsignal(number))
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)

    def grant(self, number: int) -> None:
        """End the process as a signal asks for: 130 for Ctrl-C, 143 for SIGTERM.

        Raises:
            KeyboardInterrupt: for Ctrl-C, as Python itself does.
            SystemExit: for SIGTERM.
        """
        self.close()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    def close(self) -> None:
        """Let the signals mean what they meant before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before, self._loop = {}, None  # a frame keeps all that it knows alive

    def _note(self, number: int, frame: FrameType | None):
        if not self._runs(frame):
            self.close()
            signal.raise_signal(number)
        elif self.asked and number == signal.SIGINT:
            self.grant(number)
        else:
            self.asked = number
            if number == signal.SIGINT:  # `print` may be what was interrupted
                os.write(2, b"\nEnding after this step. Ctrl-C again ends at once.\n")

    def _runs(self, frame):
        # Keras tells its callbacks nothing when `fit` raises: the stack has it.
        while frame is not None:
            if frame is self._loop:
                return True
            frame = frame.f_back
        return False


def _clear_away(handler):
    # What a loop that raised has left behind.
    owner = getattr(handler, "__self__", None)
    if isinstance(owner, Wishes) and not owner._runs(sys._getframe()):
        owner.close()
