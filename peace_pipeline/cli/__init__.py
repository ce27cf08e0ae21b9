"""``peace …``, for people and for programs.

A command is a function in the module of its group (``runs``, ``networks``, ``reports``), listed in ``app``: it takes
its options from ``options`` where others have them too, imports the one library function that it calls inside itself
(``peace --help`` loads no torch), calls it while ``working()``, and ends with ``emit(document, as_json, show)``, whose
``show`` is a function of ``views``. Failures are exceptions of the library: ``failures`` says each in one line.
"""
