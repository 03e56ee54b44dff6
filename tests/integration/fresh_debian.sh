#!/usr/bin/env bash
# Proves that a stranger on a fresh Debian 12 needs nothing but the prerequisites in the README.
#
# usage: tests/integration/fresh_debian.sh    as root on Debian or Ubuntu, with debootstrap
#
# It makes a Debian 12 in a temporary folder, checks that deploy/prerequisites.sh says what a bare
# one lacks, installs what the README's `apt-get install` names, clones the HEAD of this checkout as
# a new user, and runs `make demo` twice: from nothing within the budget, and again. What the host
# says about package mirrors and certificates is carried over; else nothing of the host is visible
# inside. Mounts and processes live in namespaces of their own, and end however this script ends.
#
# environment:
#   LABELWRIGHT_DEBS    a folder that keeps downloaded .deb files for the next time
#   LABELWRIGHT_MIRROR  a Debian mirror, if the host's own apt configuration has no bookworm
#   TMPDIR              where the root is made: 3 GB, on a file system that allows devices
#
# exit codes: 0 proven, 1 not, 2 this machine cannot run it
set -euo pipefail

readonly RELEASE=bookworm
readonly SERVICE=8000 UI=5000
readonly BUDGET=240   # seconds from `make demo` to the first answer, nothing installed
readonly PATIENCE=900 # seconds after which there will be no answer
readonly CARRIED=(
    http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE GIT_SSL_CAINFO
    PIP_CONFIG_FILE PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_NO_INDEX PIP_FIND_LINKS PIP_TRUSTED_HOST
    PIP_PROXY PIP_CERT PIP_CLIENT_CERT PIP_DEFAULT_TIMEOUT PIP_RETRIES
)
readonly SYSTEM_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
readonly USER_PATH=/usr/local/bin:/usr/bin:/bin
readonly STRANGER=stranger

self=$(readlink -f "$0")
checkout=$(dirname "$self")/../..

say() { printf 'fresh_debian: %s\n' "$*"; }

fail() {
    say "$@" >&2
    exit 1
}

unusable() {
    say "$@" >&2
    exit 2
}

# ------------------------------------------------------------------------------ on the host

main() {
    [[ $EUID -eq 0 ]] || unusable "needs root: sudo $0"
    command -v debootstrap >/dev/null || unusable "needs debootstrap: apt-get install debootstrap"
    unshare --mount --pid --fork true 2>/dev/null ||
        unusable "needs namespaces of its own, which this machine refuses (unshare --mount --pid)"
    for port in $SERVICE $UI; do
        ! listening "$port" || unusable "the demo needs port $port, and it is in use here"
    done

    work=$(mktemp -d --tmpdir fresh-debian.XXXXXX)
    trap clean EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # In the background, so that a signal to this script ends it at once; and with it in any case.
    setpriv --pdeathsig KILL \
        unshare --mount --pid --fork --mount-proc --kill-child "$self" --inside "$work" </dev/null &
    inside=$!
    wait "$inside"
}

clean() {
    kill -KILL "$inside" 2>/dev/null || true
    wait "$inside" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}

listening() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# ----------------------------------------------------------------- in namespaces of its own

inside() {
    work=$1 root=$1/root log=$1/log
    trap '(($? == 0)) || show_log' EXIT
    environment=(PATH="$SYSTEM_PATH" HOME=/root DEBIAN_FRONTEND=noninteractive)
    for name in "${CARRIED[@]}"; do
        [[ -z ${!name-} ]] || environment+=("$name=${!name}")
    done

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
    say "first right answer and MLflow UI: $first s after 'make demo' (budget: $BUDGET s)"
    say "load of this machine, with the demo's own: $(cut -d ' ' -f 1-3 /proc/loadavg)"
    interrupt
    say "Ctrl-C: both ports are free, no process is left"

    demo
    say "second 'make demo': $seconds s"
    interrupt
    ((first < BUDGET)) || fail "too slow: $first s on $(nproc) cores, the budget is $BUDGET s"
    say "proven"
}

show_log() {
    [[ ! -s $log ]] || { echo "--- what was printed meanwhile" && tail -n 40 "$log"; } >&2
}

read_prerequisites() {
    local line
    line=$(committed README.md | grep -m 1 -oP 'apt-get install \K[a-z0-9 .+-]+') ||
        fail "the README has no 'apt-get install' line"
    read -ra prerequisites <<<"$line"
}

make_root() {
    local sources mirror debs=${LABELWRIGHT_DEBS-} options=()
    sources=$(host_sources)
    mirror=$(awk -v release=$RELEASE '$3 == release { print $2; exit }' <<<"$sources")
    [[ $mirror ]] || unusable "apt here knows no $RELEASE: set LABELWRIGHT_MIRROR to a mirror of it"
    if [[ $debs ]]; then
        mkdir -p "$debs/partial"
        debs=$(readlink -f "$debs")
        options=(--cache-dir="$debs")
    fi
    env -i "${environment[@]}" \
        debootstrap --variant=minbase "${options[@]}" $RELEASE "$root" "$mirror" >>"$log" 2>&1 ||
        fail "debootstrap failed"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    [[ -z $debs ]] || mount --bind "$debs" "$root/var/cache/apt/archives"
    echo "127.0.0.1 localhost" >"$root/etc/hosts"
    echo "$sources" >"$root/etc/apt/sources.list"
    apt-config dump | grep -E '^Acquire::(https?|Check|Retries|ForceIPv)' \
        >"$root/etc/apt/apt.conf.d/00host" || true
}

# One-line sources of the release, as the host's own apt is configured.
host_sources() {
    if [[ ${LABELWRIGHT_MIRROR-} ]]; then
        echo "deb $LABELWRIGHT_MIRROR $RELEASE main"
        return
    fi
    # shellcheck disable=SC2016 # apt expands these
    local found format='deb $(REPO_URI) $(RELEASE) $(COMPONENT)'
    found=$(apt-get indextargets --format "$format" "Created-By: Packages" "Origin: Debian")
    # Before the first `apt-get update`, apt does not know who publishes a source.
    [[ $found ]] || found=$(apt-get indextargets --format "$format" "Created-By: Packages")
    grep -E " $RELEASE(-updates|-security)? main\$" <<<"$found" | sort -u || true
}

# pip's configuration, certificates, and the files and folders that these speak of.
carry_over() {
    local file path places
    mkdir -p "$root/usr/local/share/ca-certificates" "$root/etc/ssl/certs"
    if [[ -d /usr/local/share/ca-certificates ]]; then
        cp -r /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
    fi
    for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/xdg/pip/pip.conf; do
        [[ ! -e $file ]] || install -D -m 644 "$file" "$root$file"
    done
    # New users get what lies in skel.
    for file in .config/pip/pip.conf .pip/pip.conf; do
        [[ ! -e $HOME/$file ]] || install -D -m 644 "$HOME/$file" "$root/etc/skel/$file"
    done

    places=$({
        printf '%s\n' "${environment[@]:3}"
        cat "$root"/etc/{,xdg/pip/}pip.conf "$root"/etc/skel/.{config/pip,pip}/pip.conf || true
    } 2>/dev/null | tr -s '= \t' '\n' | sed -n 's,^file://,,; s,/simple/*$,,; /^\//p' | sort -u)
    while read -r path; do
        if [[ -e $root$path ]]; then
            continue
        elif [[ -d $path ]]; then
            mkdir -p "$root$path"
            mount --bind "$path" "$root$path"
            mount -o remount,bind,ro "$root$path"
        elif [[ -f $path ]]; then
            install -D -m 644 "$path" "$root$path"
        fi
    done <<<"$places"
}

bare_machine_is_told() {
    local said told name code=0
    said=$(committed deploy/prerequisites.sh | in_root sh 2>&1) || code=$?
    echo "$said" >>"$log"
    ((code == 1)) || fail "deploy/prerequisites.sh ended with $code on a bare machine: $said"
    told=" $(grep -oP 'apt-get install \K.*' <<<"$said") " ||
        fail "deploy/prerequisites.sh has no 'apt-get install' for a bare machine: $said"
    [[ $told == *" python3 "* && $told == *" git "* ]] ||
        fail "deploy/prerequisites.sh does not see what a bare machine lacks: $said"
    for name in $told; do
        [[ " ${prerequisites[*]} " == *" $name "* ]] || fail "the README does not name $name"
    done
    say "a bare machine is told: apt-get install${told% }"
}

install_prerequisites() {
    say "installing the prerequisites: ${prerequisites[*]}"
    in_root apt-get update >>"$log" 2>&1 || fail "apt-get update failed"
    # Without what Debian merely recommends, so that nothing comes by luck.
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
        fail "deploy/prerequisites.sh wants more than the prerequisites"
    say "cloned $(as_stranger git -C labelwright log -1 --format='%h %s')"
}

# Start `make demo` as a terminal would: a process group of its own that Ctrl-C reaches. Sets
# `make` to its process and `seconds` to the time until it answered.
demo() {
    setsid chroot --userspec="$uid:$uid" --groups="$uid" "$root" \
        env -i --default-signal=INT --chdir="/home/$STRANGER/labelwright" \
        HOME="/home/$STRANGER" USER=$STRANGER LOGNAME=$STRANGER SHELL=/bin/bash PATH=$USER_PATH \
        "${environment[@]:3}" make demo </dev/null >"$log" 2>&1 &
    make=$!
    seconds=$(as_stranger python3 - "$make" "$PATIENCE" "$SERVICE" "$UI" <<<"$ASK") ||
        fail "make demo gave no right answer"
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
            sys.exit(f"no answer after {patience} s: {error}")
        time.sleep(0.2)
seconds = time.monotonic() - started
labels = [found["label"] for found in json.loads(answer)["results"][0]["labels"]]
if "cuisine=pizza" not in labels:
    sys.exit(f"Joe's Pizza is labelled {labels}")
if b"MLflow" not in page:
    sys.exit(f"port {ui} does not serve MLflow's UI: {page[:200]}")
print(round(seconds))
PYTHON

# Ctrl-C, and nothing may be left of it.
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

in_root() { chroot "$root" env -i "${environment[@]}" "$@"; }

as_stranger() {
    chroot --userspec="$uid:$uid" --groups="$uid" "$root" \
        env -i --chdir="/home/$STRANGER" HOME="/home/$STRANGER" PATH=$USER_PATH "$@"
}

# The checkout may belong to somebody else than root.
host_git() { git -c safe.directory='*' -C "$checkout" "$@"; }

committed() { host_git show "HEAD:$1"; }

if [[ ${1-} == --inside ]]; then
    inside "$2"
else
    main
fi
