#!/usr/bin/env bash
# The Pythons of this machine that the package is for, oldest first, one of each version: "3.8 /usr/bin/python3.8".
set -euo pipefail

# A name on the path may be a shim that stands for nothing, and a Python without ensurepip makes no virtual environment: each is asked.
asked='
import ensurepip, sys, sysconfig
supported = sys.implementation.name == "cpython" and sys.version_info >= (3, 8) and sys.version_info.releaselevel == "final"
if supported and not sysconfig.get_config_var("Py_GIL_DISABLED"):
    print("%d.%d" % sys.version_info[:2], sys.executable)
'
{
  type -ap python3 python3.{8..30} || true
  compgen -G "${PYENV_ROOT:-$HOME/.pyenv}/versions/*/bin/python3" || true
  compgen -G "${UV_PYTHON_INSTALL_DIR:-$HOME/.local/share/uv/python}/*/bin/python3" || true
} | while read -r python; do
  "$python" -c "$asked" 2>/dev/null </dev/null || true
done | sort -s -V -u -k 1,1
