"""Startup hook that gives TFX's command a Kubeflow handler, in place of its own, which it cannot import.

`tfx --engine=kubeflow` imports tfx.tools.cli.handler.kubeflow_handler, which needs a module that TFX 1.16 removed. A
.pth file beside this one calls `install` in every process of the environment, so this imports nothing until that
module is imported. Where TFX's own works, it is used.
"""

import sys

SERVED = "tfx.tools.cli.handler.kubeflow_handler"
# Not `pipeline.kubeflow`: the user may have a package `pipeline` of their own.
ALIAS = "_draw_tfx_kubeflow"


class _Finder:
    """Finder on sys.meta_path for that one module."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != SERVED:
            return None
        import importlib.util

        return importlib.util.spec_from_loader(name, _Loader)


class _Loader:
    """Loader of TFX's handler, or else of ours."""

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        import importlib.machinery
        import importlib.util
        import os

        theirs = importlib.machinery.PathFinder.find_spec(SERVED, sys.modules[SERVED.rpartition(".")[0]].__path__)
        try:
            theirs.loader.exec_module(module)
            return
        except ImportError:
            pass
        folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pipeline", "kubeflow")
        ours = importlib.util.spec_from_file_location(
            ALIAS, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )
        sys.modules[ALIAS] = importlib.util.module_from_spec(ours)
        ours.loader.exec_module(sys.modules[ALIAS])
        module.KubeflowHandler = importlib.import_module(ALIAS + ".tfx_cli_handler").KubeflowHandler


def install():
    """Adds the finder to sys.meta_path once."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
