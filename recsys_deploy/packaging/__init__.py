"""Lambda and Glue packages: the same code and pins give the same bytes, for the platform that runs them.

``functions`` lists what each function needs, ``targets`` the platforms, ``libraries`` installs the pinned libraries,
``contents`` chooses the files, ``bytecode`` compiles them, ``archive`` writes the zip, ``build`` runs these steps,
``features`` packages the Glue job. Container images are in ``docker/``, infrastructure is in ``terraform/``.
"""
