"""Ctrl-C and SIGTERM that Python would drop."""

import signal
import sys
import threading

_PAUSE_S = 0.1
"""Until a dropped signal is sent again, seconds: the callback that dropped it has ended by then."""


def _send_again(number: int) -> None:
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, number)  # unlike raise_signal, this also ends a wait of the main thread
    else:
        signal.raise_signal(number)


def never_drop() -> None:
    """Makes an interruption count that arrives inside a callback.

    Python reports an exception of a callback or a finaliser and goes on. JAX has such a callback in each garbage
    collection, and there are many while a program is traced: Ctrl-C printed a traceback there, and the run went on.
    Now the signal is sent again, after the callback, and nothing is printed. Other exceptions are reported as before.
    """
    reported = sys.unraisablehook

    def report(dropped: "sys.UnraisableHookArgs") -> None:
        asked = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}.get(dropped.exc_type)
        if asked is None:
            reported(dropped)
            return
        again = threading.Timer(_PAUSE_S, _send_again, [asked])
        again.daemon = True  # the end of the program does not wait for it
        again.start()

    sys.unraisablehook = report
