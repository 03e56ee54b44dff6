#!/usr/bin/env bash
# Builds both targets of the Dockerfile and runs compose.yaml with them, without a container engine.
#
# usage: tests/integration/image.sh    as root on Debian or Ubuntu, with debootstrap
#
# A fresh Debian 12 with Python stands for the base image, a PostgreSQL server of the host for the
# database's; image.py does the rest. The roots take 4 GB; debian.sh says what can be set and what the
# exit codes mean.
#
# environment:
#   PYTHON      the Python that image.py runs with
#   POSTGRESQL  the folder of the database server's programs
set -euo pipefail
# shellcheck source=tests/integration/debian.sh
source "$(dirname "$0")/debian.sh"

inside() {
    begin "$1"
    chmod 755 "$work" # the database runs as a user of its own
    say "making a fresh Debian ($RELEASE) with Python"
    make_root
    carry_over
    in_root apt-get update >>"$log" 2>&1 || fail "apt-get update failed"
    in_root apt-get install --yes --no-install-recommends -o APT::Sandbox::User=root \
        python3 python3-venv >>"$log" 2>&1 || fail "apt-get install failed"
    # As in the base image, what pip installs lies in /usr/local and is nobody else's.
    in_root python3 -m venv /usr/local >>"$log" 2>&1 || fail "no Python in /usr/local"
    cd "$checkout"
    env -i "${environment[@]}" \
        "$PYTHON" -m tests.integration.image "$root" "$work" "$POSTGRESQL" || fail "not proven"
    say "proven"
}

if [[ ${1-} == --inside ]]; then
    inside "$2"
else
    contain
fi
