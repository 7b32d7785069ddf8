"""A model server that speaks TF Serving's protocol: `Server`, started with `Options`."""

from serving.server.options import Options, model_of_folder
from serving.server.server import Server

__all__ = ["Options", "Server", "model_of_folder"]
