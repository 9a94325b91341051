"""What reaches the terminal: a line a phase, a line an error, no start-up noise."""

import contextlib
import logging
import os
import re
import sys
import tempfile

from zoo.errors import ZooError

INTERRUPTED = 130  # the shell's exit code for a process ended by Ctrl-C
PIPE_CLOSED = 141  # and for one whose output nobody reads any more

_quiet = False


def say(text: str) -> None:
    """Print one line of progress to standard error, at once."""
    if not _quiet:
        print(text, file=sys.stderr, flush=True)


def leave_it_to_the_chief() -> None:
    """Print nothing but errors from here on: this is one of several workers."""
    global _quiet
    _quiet = True
    sys.stdout = open(os.devnull, "w", encoding="utf8")  # noqa: SIM115, for good


def one_line(error: Exception) -> str:
    """Return what an exception says, short and on one line."""
    # TensorFlow's messages begin with the name of a graph node in double braces.
    text = re.sub(r"\{\{.*?\}\}", "", f"{type(error).__name__}: {error}")
    # Keras's begin with a heading in bold.
    text = re.sub(r"\x1b\[[0-9;]*m(Exception encountered when.*?\n\s*)?", "", text)
    return " ".join(text.split())[:160]


def progress_bar(what: str, unit: str, total: int | None = None):
    """Return a `tqdm` bar on standard error that vanishes when it is done.

    It shows nothing where standard error is not a terminal.
    """
    from tqdm import tqdm

    scale = unit == "B"
    unit = unit if scale else f" {unit}"
    return tqdm(
        desc=what, unit=unit, total=total, unit_scale=scale, leave=False, disable=None
    )


@contextlib.contextmanager
def standard_error_held():
    """Hold standard error back; what came is written if an exception ends it."""
    # TensorFlow's C++ code writes to file descriptor 2 itself, before any log
    # level applies; only a redirected descriptor holds that back.
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextlib.contextmanager
def errors_only(name: str):
    """Hold back what a library logs below errors.

    Args:
        name: of its logger: `absl` for TensorFlow Datasets' warnings about its own
            code, `tensorflow` for those about graphs, which a search makes many of.
    """
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def import_keras():
    """Import Keras and its backend without TensorFlow's start-up lines.

    Set `TF_CPP_MIN_LOG_LEVEL` to 0 or 1 to see them.

    Returns:
        The module `keras`.

    Raises:
        ZooError: the backend that `KERAS_BACKEND` names cannot be had.
    """
    try:
        return _import_keras()
    except (ImportError, ValueError) as error:
        raise ZooError(
            f"Keras does not start with the backend that KERAS_BACKEND names, "
            f"{os.environ.get('KERAS_BACKEND', 'tensorflow')} ({one_line(error)}); "
            "zoo doctor tells what is missing."
        ) from error


def _import_keras():
    # What TensorFlow says of a lost worker, we say in one line.
    several = {"TF_CONFIG", "SLURM_STEP_NUM_TASKS"} & set(os.environ)
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if several else "2")
    if level in ("0", "1"):
        import keras

        return keras
    with standard_error_held():
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            tf.config.list_physical_devices()  # the drivers complain here
    return keras


def import_tensorflow():
    """Import TensorFlow without its start-up lines, and return the module."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with standard_error_held():
        import tensorflow as tf

        tf.config.list_physical_devices()  # the drivers complain here
    return tf


def command_line(main, argv: list[str] | None = None) -> None:
    """Run `main(argv)` as a program: one-line errors, an exit code, no traceback."""
    try:
        try:
            code = main(argv)
        finally:
            sys.stdout.flush()  # while what goes wrong can be told
    except BrokenPipeError:  # zoo list | head: who reads has seen enough
        _drop_output()
        sys.exit(PIPE_CLOSED)
    except (ZooError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # a full disk, say, which the line above tells
            _drop_output()
        sys.exit(getattr(error, "exit_code", ZooError.exit_code))
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _drop_output():
    """Let what is still to be written to standard output vanish, at exit too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
