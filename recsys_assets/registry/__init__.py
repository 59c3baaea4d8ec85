"""Registry: model versions, experiment runs, the champion pointer, and the stored bundles of registered models.

``model_registry`` reads and writes the records of ``records``, ``versions`` numbers them, ``folder_store`` keeps sealed
folders, ``bundle_store`` the bundles among them. How models are compared and promoted is in ``evaluation`` and
``promotion``.
"""
