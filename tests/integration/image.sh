#!/usr/bin/env bash
# Builds both targets of the Dockerfile and runs compose.yaml with them, without a container engine.
#
# usage: tests/integration/image.sh    as root on Debian or Ubuntu, with debootstrap
#
# A fresh Debian 12 with Python replaces the base image. A PostgreSQL server of the host replaces the
# database image. image.py builds and runs the targets, which need 4 GB of disk space. debian.sh
# documents the environment and the exit codes.
#
# environment:
#   PYTHON      the interpreter that runs image.py
#   POSTGRESQL  the folder of PostgreSQL's programs
set -euo pipefail
# shellcheck source=tests/integration/debian.sh
source "$(dirname "$0")/debian.sh"

inside() {
    begin "$1"
    chmod 755 "$work" # the database runs as another user
    say "making a fresh Debian ($RELEASE) with Python"
    make_root
    carry_over
    in_root apt-get update >>"$log" 2>&1 || fail "apt-get update failed"
    in_root apt-get install --yes --no-install-recommends -o APT::Sandbox::User=root \
        python3 python3-venv >>"$log" 2>&1 || fail "apt-get install failed"
    # As in the base image, /usr/local holds only packages that pip installs.
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
