# Functions to run commands in a fresh Debian 12, for the scripts in this folder, which source this
# file. The Debian is in a temporary folder. Its mounts and processes are in separate namespaces,
# which end with the script, even if the script is killed.
#
# The host's settings for package mirrors, pip and certificates are copied into the Debian. Nothing
# else of the host is visible in the Debian.
#
# A script calls `contain` on the host. `contain` runs the script again as `SCRIPT --inside WORK`.
# This second run calls `begin WORK`, `make_root` and `carry_over`, and then `in_root COMMAND...`.
#
# environment:
#   LABELWRIGHT_DEBS    a folder that keeps downloaded .deb files for later runs
#   LABELWRIGHT_MIRROR  a Debian mirror, if the apt configuration of the host has no bookworm
#   TMPDIR              a folder for the Debian, on a file system that allows devices
#
# exit codes: 0 passed, 1 failed, 2 this machine cannot run the script
# shellcheck shell=bash

readonly RELEASE=bookworm
readonly CARRIED=(
    http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE GIT_SSL_CAINFO
    PIP_CONFIG_FILE PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_NO_INDEX PIP_FIND_LINKS PIP_TRUSTED_HOST
    PIP_PROXY PIP_CERT PIP_CLIENT_CERT PIP_DEFAULT_TIMEOUT PIP_RETRIES
)
readonly SYSTEM_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

self=$(readlink -f "$0")
program=$(basename "$self" .sh)
checkout=$(dirname "$self")/../..

say() { printf '%s: %s\n' "$program" "$*"; }

fail() {
    say "$@" >&2
    exit 1
}

unusable() {
    say "$@" >&2
    exit 2
}

contain() {
    [[ $EUID -eq 0 ]] || unusable "needs root: sudo $0"
    command -v debootstrap >/dev/null || unusable "needs debootstrap: apt-get install debootstrap"
    unshare --mount --pid --fork true 2>/dev/null ||
        unusable "needs new namespaces, which this machine does not allow (unshare --mount --pid)"

    work=$(mktemp -d --tmpdir "$program.XXXXXX")
    trap clean EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # The command runs in the background, so that this script handles a signal at once. pdeathsig
    # ends the command if this script is killed.
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

begin() {
    work=$1 root=$1/root log=$1/log
    trap '(($? == 0)) || show_log' EXIT
    environment=(PATH="$SYSTEM_PATH" HOME=/root DEBIAN_FRONTEND=noninteractive)
    local name
    for name in "${CARRIED[@]}"; do
        [[ -z ${!name-} ]] || environment+=("$name=${!name}")
    done
}

show_log() {
    [[ ! -s $log ]] || { echo "--- end of the log" && tail -n 40 "$log"; } >&2
}

make_root() {
    local sources mirror debs=${LABELWRIGHT_DEBS-} options=()
    sources=$(host_sources)
    mirror=$(awk -v release=$RELEASE '$3 == release { print $2; exit }' <<<"$sources")
    [[ $mirror ]] || unusable "apt has no source of $RELEASE: set LABELWRIGHT_MIRROR to a mirror"
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

# Prints the apt sources of the release in the host's configuration, in the one-line format.
host_sources() {
    if [[ ${LABELWRIGHT_MIRROR-} ]]; then
        echo "deb $LABELWRIGHT_MIRROR $RELEASE main"
        return
    fi
    # shellcheck disable=SC2016 # apt expands these
    local found format='deb $(REPO_URI) $(RELEASE) $(COMPONENT)'
    found=$(apt-get indextargets --format "$format" "Created-By: Packages" "Origin: Debian")
    # Before the first `apt-get update`, apt does not know the origin of a source.
    [[ $found ]] || found=$(apt-get indextargets --format "$format" "Created-By: Packages")
    grep -E " $RELEASE(-updates|-security)? main\$" <<<"$found" | sort -u || true
}

# Copies pip's configuration, the certificates, and the files and folders that they name.
carry_over() {
    local file path places
    mkdir -p "$root/usr/local/share/ca-certificates" "$root/etc/ssl/certs"
    if [[ -d /usr/local/share/ca-certificates ]]; then
        cp -r /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
    fi
    for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/xdg/pip/pip.conf; do
        [[ ! -e $file ]] || install -D -m 644 "$file" "$root$file"
    done
    # The home folder of a new user is a copy of skel.
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

in_root() { chroot "$root" env -i "${environment[@]}" "$@"; }
