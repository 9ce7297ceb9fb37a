"""Recorders of programs: each runs one under a tool that tells every access and call, and reads what the tool writes as it comes.

A recorder module has `missing()`, which says why it cannot be used here, if so; and `Recorder(command, cwd, env)`, a
`workloads.readers.passes.Pass` whose chunks come while the program runs.
"""
