#!/bin/sh
# Checks this machine before anything is installed; names the Debian packages that are missing.
set -u
python="${PYTHON:-python3}"
missing=""
if command -v "$python" >/dev/null 2>&1; then
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || {
        echo "labelwright needs Python 3.11 to 3.14; $python is $("$python" -V 2>&1)." >&2
        echo "Choose another interpreter: make PYTHON=python3.12 ..." >&2
        exit 1
    }
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
    "$python" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || missing="$missing libgomp1"
else
    missing=" python3 python3-venv libgomp1"
fi
for command in make git; do
    command -v $command >/dev/null 2>&1 || missing="$missing $command"
done
if [ -n "$missing" ]; then
    echo "missing on this machine:$missing" >&2
    echo "on Debian or Ubuntu: apt-get install$missing" >&2
    exit 1
fi
