"""Recorders of programs: each runs a program under a tool that reports every access and call, and reads the tool's output as it arrives.

A recorder module has `missing()`, which returns why it cannot be used here, if so; and `Recorder(command, cwd, env)`, one run
of a program with its arguments, working directory and environment: a `workloads.formats.passes.Pass` whose chunks arrive meanwhile.
"""
