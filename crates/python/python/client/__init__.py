"""The name under which the client was once copied into projects; all of it is in :mod:`claude_code_api`."""

from claude_code_api import *  # noqa: F403
from claude_code_api import __all__, __version__  # noqa: F401
