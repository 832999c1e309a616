#!/usr/bin/env bash
# Runs what the README tells a newcomer on a machine that has nothing: a fresh Debian root made by
# debootstrap, entered in mount and process namespaces of its own. The kernel and the network are
# this machine's. Prints how long each part took; the root is removed afterwards, also on errors.
#
#   sudo xtask/fresh-root.sh [--keep] [--ref REF] [--suite SUITE] [COMMAND...]
#
# Each COMMAND is run in a clone of REF (default HEAD) by a shell; without any, the README's two:
# 'cargo xtask demo' and 'cargo xtask test'. The package mirror is taken from this machine's apt.
set -euo pipefail

# The README's prerequisites. cargo-web brings the compiler and a C linker.
prerequisites=(git ca-certificates cargo-web)

keep=no
ref=HEAD
suite=bookworm
while [[ ${1:-} == --* ]]; do
    case $1 in
        --keep) keep=yes ;;
        --ref) ref=$2; shift ;;
        --suite) suite=$2; shift ;;
        --) shift; break ;;
        *) echo "unknown option $1: see the head of $0" >&2; exit 2 ;;
    esac
    shift
done
commands=("$@")
if [[ ${#commands[@]} -eq 0 ]]; then
    commands=('cargo xtask demo' 'cargo xtask test')
fi
[[ $(id -u) -eq 0 ]] || { echo "run this as root: it enters a new root" >&2; exit 4; }
command -v debootstrap > /dev/null || { echo "install debootstrap first" >&2; exit 1; }

repository=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
root=$(mktemp --directory "${TMPDIR:-/tmp}/fwt-fresh.XXXXXX")
chmod 755 "$root"  # apt fetches as a user of its own
remove() {
    # All mounts live in the namespace that is gone by now; removing stops at a foreign file system
    # nevertheless.
    if [[ $keep == yes ]]; then
        echo "kept: $root"
    else
        rm --recursive --force --one-file-system "$root"
    fi
}
trap remove EXIT
trap 'exit 130' INT TERM HUP

timings=()
timed() {
    local name=$1 start=$SECONDS code=0
    shift
    echo "=== $name"
    "$@" || code=$?
    timings+=("$(printf '%4d s  exit %d  %s' $((SECONDS - start)) "$code" "$name")")
    return "$code"
}

# "URI" of this machine's apt for a suite.
mirror() {
    apt-get indextargets --format '$(REPO_URI) $(CODENAME)' |
        awk -v suite="$1" '$2 == suite { print $1; exit }'
}

make_root() {
    local uri part
    uri=$(mirror "$suite")
    [[ -n $uri ]] || { echo "this machine's apt knows no suite $suite" >&2; return 1; }
    debootstrap --variant=minbase "$suite" "$root" "$uri" > "$root.log" 2>&1 || {
        tail --lines 20 "$root.log" >&2
        rm --force "$root.log"
        return 1
    }
    rm --force "$root.log"
    : > "$root/etc/apt/sources.list"
    for part in "$suite" "$suite-updates" "$suite-security"; do
        uri=$(mirror "$part")
        [[ -z $uri ]] || echo "deb $uri $part main" >> "$root/etc/apt/sources.list"
    done
    # How this machine reaches the network: names, and authorities it trusts beyond Debian's.
    cp --dereference /etc/resolv.conf /etc/hosts "$root/etc/"
    mkdir --parents "$root/usr/local/share/ca-certificates"
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2> /dev/null || true
    # Nothing in this root must survive a power cut: dpkg need not wait for the disk.
    echo force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/fresh-root"
    git clone --quiet --bare "$repository" "$root/srv/firewall.git"
    git -C "$root/srv/firewall.git" update-ref refs/heads/fresh "$(git -C "$repository" rev-parse "$ref")"
}

# Runs a shell command inside, as a newcomer's login shell would.
inside() {
    local settings=(HOME=/root "TERM=${TERM:-dumb}" LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
    local name
    for name in http_proxy https_proxy no_proxy; do
        [[ -z ${!name:-} ]] || settings+=("$name=${!name}")
    done
    unshare --mount --pid --fork --kill-child --propagation private bash -euc '
        root=$1; shift
        # A root is a mount of its own, as it is on a machine; ip-netns insists on it.
        mount --bind "$root" "$root"
        mount -t proc proc "$root/proc"
        mount -t sysfs sysfs "$root/sys"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/run"
        exec chroot "$root" env -i "$@"
    ' fresh "$root" "${settings[@]}" bash -c "$1"
}

timed "debootstrap $suite" make_root
timed "prerequisites: ${prerequisites[*]}" inside \
    "apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends ${prerequisites[*]}"
timed "git clone" inside 'git clone --quiet --branch fresh /srv/firewall.git /opt/firewall'
code=0
for command in "${commands[@]}"; do
    timed "$command" inside "cd /opt/firewall && $command" || code=$?
done
echo "=== times"
printf '%s\n' "${timings[@]}"
exit "$code"
