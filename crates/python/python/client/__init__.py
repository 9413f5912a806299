"""The name under which the client was once copied into projects; all of it is in :mod:`claude_code_api`."""

from typing import TYPE_CHECKING

from claude_code_api import __all__ as __all__
from claude_code_api import __version__ as __version__

if TYPE_CHECKING:
    from claude_code_api import *  # noqa: F403
else:

    def __getattr__(name):
        import claude_code_api

        return getattr(claude_code_api, name)
