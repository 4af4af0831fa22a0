"""The command ``merkql``: a shell's way to a data directory, made of the library's public calls.

A command is one module here and one line in ``commands.COMMANDS``. The module has two functions:

    add_parser(subparsers)   makes its parser (``parsing.new_command``) with every option it takes
    run(arguments) -> int    does it and returns the exit status, 0 when all is well

and is imported only when it is asked for, so what is dear to import costs nobody else anything.
``arguments.directory`` is the data directory (``parsing.add_directory``), ``arguments.terminal`` is
where everything is written: results with ``terminal.out``, remarks with ``terminal.note``, and a
``terminal.progress(...)`` for what may take longer than a second. Nothing is caught: ``running``
makes every error one line on standard error and a status. A new command then needs its row in
docs/architecture.md, ``make docs`` for its page in the reference, and tests in tests/cli.
"""
