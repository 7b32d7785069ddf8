#!/usr/bin/env bash
# Debian 13 in a folder: what tests/second_line.sh and tests/image stand on.
#
#   tests/debian_root.sh possible              says in a line why this host cannot have one, and ends with 1
#   tests/debian_root.sh make ROOT PACKAGE...  makes one, if it is not there
#   tests/debian_root.sh enter ROOT COMMAND... runs a command in it, as process 1, with this host's network
#   tests/debian_root.sh enter-with-pip ...    the same, with what this host's pip reads
#
# Mounts and processes end with the command, for they are in namespaces of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

possible() {
    if [[ $EUID != 0 ]]; then
        echo "only root may make and enter a Debian 13 root"
    elif ! command -v debootstrap >/dev/null; then
        echo "debootstrap is not installed"
    elif ! unshare --mount --pid --fork true 2>/dev/null; then
        echo "this container may not make namespaces"
    else
        return 0
    fi
    return 1
}

make_root() {
    local root=$1 packages
    shift
    [[ ! -d $root ]] || return 0
    packages=$(IFS=,; echo "$*")
    echo "making a Debian 13 root in $root"
    rm -rf "$root.unfinished"
    debootstrap --variant=minbase ${packages:+--include="$packages"} trixie "$root.unfinished" >"$root.log" 2>&1 ||
        { tail -n 20 "$root.log"; exit 1; }
    mv "$root.unfinished" "$root"
}

# What the host's pip reads: its configuration files, and what these and PIP_* name on this host. Of a local index it is
# the folder above, for the files that an index offers are usually beside it.
pip_files() {
    local config path
    config=$(.venv/bin/python -m pip config debug)
    sed -n 's/^ *\(\/.*\), exists: True$/\1/p' <<<"$config"
    grep -oE "(file://|[[:space:]'])/[^[:space:]',]+" <<<"$config" | while read -r path; do
        path=${path#[[:space:]\']}
        path=${path%/}
        [[ $path == file://* ]] && path=${path#file://} && path=${path%/*}
        if [[ -n $path && -e $path ]]; then echo "$path"; fi
    done
}

enter() {
    local root=$1 path
    shift
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    sort -u | while read -r path; do
        if [[ -d $path ]]; then mkdir -p "$root$path"; else mkdir -p "$root${path%/*}" && touch "$root$path"; fi
        mount --bind "$path" "$root$path"
    done
    exec chroot "$root" "$@" </dev/null
}

case $1 in
    possible) possible ;;
    make) make_root "${@:2}" ;;
    enter | enter-with-pip)
        export -f enter
        {
            printf '%s\n' /etc/hosts /etc/resolv.conf
            [[ $1 == enter ]] || pip_files
        } | unshare --mount --pid --fork --kill-child bash -euo pipefail -c 'enter "$@"' bash "${@:2}"
        ;;
esac
