"""Reading a config file, with one line for what is wrong with it."""

import os

from mmengine.config import Config

from dr2net_mm.errors import UserError


def load_config(path: str) -> Config:
    """Read a config file.

    Raises:
        UserError: if it, or a config it builds on, is missing or cannot be run.
    """
    if not os.path.isfile(path):
        raise UserError(
            f'config {path!r} does not exist; give the path of a .py config'
        )
    try:
        return Config.fromfile(path)
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise UserError(
            f'config {path!r} cannot be read: {type(error).__name__}: {reason}'
        ) from error
