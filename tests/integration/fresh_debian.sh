#!/usr/bin/env bash
# Checks that a new user on a fresh Debian 12 needs only the prerequisites in the README.
#
# usage: tests/integration/fresh_debian.sh    as root on Debian or Ubuntu, with debootstrap
#
# The script makes a Debian 12 in a temporary folder and checks that deploy/prerequisites.sh names
# the missing packages there. It installs the packages that the README names, clones
# the HEAD of this checkout as a new user, and runs `make demo` twice. The first run must be ready
# within the budget. The Debian needs 3 GB of disk space. debian.sh documents the environment and
# the exit codes.
set -euo pipefail
# shellcheck source=tests/integration/debian.sh
source "$(dirname "$0")/debian.sh"

readonly SERVICE=8000 UI=5000
readonly BUDGET=240   # seconds from `make demo` to the first response, nothing installed before
readonly PATIENCE=900 # seconds after which the script gives up
readonly USER_PATH=/usr/local/bin:/usr/bin:/bin
readonly STRANGER=stranger

main() {
    for port in $SERVICE $UI; do
        ! listening "$port" || unusable "the demo needs port $port, and it is in use here"
    done
    contain
}

listening() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

inside() {
    begin "$1"
    read_prerequisites
    say "making a fresh Debian ($RELEASE)"
    make_root
    carry_over
    bare_machine_is_told
    install_prerequisites
    clone

    say "make demo, from nothing"
    log=$work/demo
    demo
    first=$seconds
    say "first correct response and MLflow UI: $first s after 'make demo' (budget: $BUDGET s)"
    say "load of this machine, including the demo: $(cut -d ' ' -f 1-3 /proc/loadavg)"
    interrupt
    say "Ctrl-C: both ports are free, no process is left"

    demo
    say "second 'make demo': $seconds s"
    interrupt
    ((first < BUDGET)) || fail "too slow: $first s on $(nproc) cores, the budget is $BUDGET s"
    say "proven"
}

read_prerequisites() {
    local line
    line=$(committed README.md | grep -m 1 -oP 'apt-get install \K[a-z0-9 .+-]+') ||
        fail "the README has no 'apt-get install' line"
    read -ra prerequisites <<<"$line"
}

bare_machine_is_told() {
    local said told name code=0
    said=$(committed deploy/prerequisites.sh | in_root sh 2>&1) || code=$?
    echo "$said" >>"$log"
    ((code == 1)) || fail "deploy/prerequisites.sh ended with $code on a bare machine: $said"
    told=" $(grep -oP 'apt-get install \K.*' <<<"$said") " ||
        fail "deploy/prerequisites.sh has no 'apt-get install' for a bare machine: $said"
    [[ $told == *" python3 "* && $told == *" git "* ]] ||
        fail "deploy/prerequisites.sh does not name packages that a bare machine lacks: $said"
    for name in $told; do
        [[ " ${prerequisites[*]} " == *" $name "* ]] || fail "the README does not name $name"
    done
    say "prerequisites.sh on a bare machine: apt-get install${told% }"
}

install_prerequisites() {
    say "installing the prerequisites: ${prerequisites[*]}"
    in_root apt-get update >>"$log" 2>&1 || fail "apt-get update failed"
    # No recommended packages are installed: the packages that the README names must be enough.
    in_root apt-get install --yes --no-install-recommends -o APT::Sandbox::User=root \
        "${prerequisites[@]}" >>"$log" 2>&1 || fail "apt-get install failed"
}

clone() {
    in_root useradd --create-home --shell /bin/bash $STRANGER
    uid=$(in_root id -u $STRANGER)
    host_git bundle create --quiet - HEAD >"$root/srv/labelwright.bundle"
    as_stranger git -c advice.detachedHead=false clone --quiet \
        /srv/labelwright.bundle labelwright >>"$log" 2>&1 || fail "git clone failed"
    as_stranger sh labelwright/deploy/prerequisites.sh >>"$log" 2>&1 ||
        fail "deploy/prerequisites.sh needs more than the prerequisites of the README"
    say "cloned $(as_stranger git -C labelwright log -1 --format='%h %s')"
}

# Starts `make demo` in a new process group, as a terminal does, so that Ctrl-C can be sent to the
# group. Sets `make` to the process id and `seconds` to the time until the first response.
demo() {
    setsid chroot --userspec="$uid:$uid" --groups="$uid" "$root" \
        env -i --default-signal=INT --chdir="/home/$STRANGER/labelwright" \
        HOME="/home/$STRANGER" USER=$STRANGER LOGNAME=$STRANGER SHELL=/bin/bash PATH=$USER_PATH \
        "${environment[@]:3}" make demo </dev/null >"$log" 2>&1 &
    make=$!
    seconds=$(as_stranger python3 - "$make" "$PATIENCE" "$SERVICE" "$UI" <<<"$ASK") ||
        fail "make demo gave no correct response"
}

read -r -d '' ASK <<'PYTHON' || true
import json, pathlib, sys, time, urllib.request

process, patience, service, ui = sys.argv[1:]
started = time.monotonic()
question = {"entities": [{"name": "Joe's Pizza", "country": "US"}]}
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(url, body=None):
    headers = {"Content-Type": "application/json"} if body else {}
    with direct.open(urllib.request.Request(url, body, headers), timeout=10) as answer:
        return answer.read()


while True:
    try:
        answer = ask(f"http://127.0.0.1:{service}/v1/labels", json.dumps(question).encode())
        page = ask(f"http://127.0.0.1:{ui}/")
        break
    except OSError as error:
        if not pathlib.Path("/proc", process).exists():
            sys.exit("make demo has ended")
        if time.monotonic() - started > float(patience):
            sys.exit(f"no response after {patience} s: {error}")
        time.sleep(0.2)
seconds = time.monotonic() - started
labels = [found["label"] for found in json.loads(answer)["results"][0]["labels"]]
if "cuisine=pizza" not in labels:
    sys.exit(f"Joe's Pizza is labelled {labels}")
if b"MLflow" not in page:
    sys.exit(f"port {ui} does not serve MLflow's UI: {page[:200]}")
print(round(seconds))
PYTHON

# Sends Ctrl-C and checks that no process and no used port is left.
interrupt() {
    local left port
    kill -INT -- "-$make"
    for ((tick = 0; tick < 300; tick++)); do
        left=$(pgrep --list-full --uid "$uid" || true)
        [[ $left ]] || break
        sleep 0.1
    done
    [[ -z $left ]] || fail "30 s after Ctrl-C there still runs: $left"
    wait "$make" || true
    for port in $SERVICE $UI; do
        ! listening "$port" || fail "port $port is still in use after Ctrl-C"
    done
    ! grep -q Traceback "$log" || fail "make demo printed a traceback"
}

as_stranger() {
    chroot --userspec="$uid:$uid" --groups="$uid" "$root" \
        env -i --chdir="/home/$STRANGER" HOME="/home/$STRANGER" PATH=$USER_PATH "$@"
}

# The checkout may belong to a user other than root.
host_git() { git -c safe.directory='*' -C "$checkout" "$@"; }

committed() { host_git show "HEAD:$1"; }

if [[ ${1-} == --inside ]]; then
    inside "$2"
else
    main
fi
