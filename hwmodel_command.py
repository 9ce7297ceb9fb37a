"""The program `hwmodel`: a signal ends it at once, whatever it is doing.

Python makes an exception of a Ctrl-C, which can get lost: in a finalizer, in a callback of compiled code, in an import for which compiled
code asks; and which waits for kernels, and these run for minutes. Files are written so that a process that is killed leaves none half
written, and recorders have a guardian, so nobody needs the exception. Nothing else is imported before: half of a short run is imports.
"""

import signal
import sys


def main() -> int:
    """Run the command line; return its exit status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell has it ignored by what runs in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from analysis import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
