"""A model server that speaks TF Serving's protocol: `Server`, started with a `ServerConfig`."""

from serving.server.server import Server
from serving.server.server_config import ServerConfig, models_from_folder

__all__ = ["Server", "ServerConfig", "models_from_folder"]
