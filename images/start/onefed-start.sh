#!/bin/sh
# onefed's start script: makes a VM from an image of the system alone (Ubuntu 24.04, Debian 12) one that onefed boots.
# OpenNebula's contextualization runs it as root in every boot. What is there already is neither fetched nor written
# again. Its log is /var/log/onefed-start.log and the console; a failure is published through OneGate too.
#
# To run it again in a VM: TIMEOUT=0 one-context-run force
#
# shellcheck disable=SC2016  # values are to be taken as they are
set -u
umask 022

# @VALUES@

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
LC_ALL=C
export PATH HOME LC_ALL

LOG=/var/log/onefed-start.log
CONTEXT=/run/onefed/context             # where `onefed boot` reads
STAGE=/var/lib/onefed-start             # what has been fetched, until it is installed
BINARY=/usr/local/bin/onefed
FLOWER=/opt/onefed/flower
UNITS=/etc/systemd/system
# Seconds for all that may have to be tried again, counted from the start.
PATIENCE=900

# Not the time of day: a VM's clock may be set in its first minutes.
seconds() {
    cut -d . -f 1 /proc/uptime
}
started=$(seconds)
mounted=
ended=

say() {
    line="$(date -u +%Y-%m-%dT%H:%M:%SZ) onefed-start: $*"
    printf '%s\n' "$line"
    printf '%s\n' "$line" >>"$LOG"
    # The console may be absent, or somebody else's.
    (printf '%s\n' "$line" >/dev/console) 2>/dev/null || :
}

in_time() {
    [ $(($(seconds) - started)) -lt "$PATIENCE" ]
}

# Ends the script, with a reason and what to do about it.
fail() {
    ended=yes
    say "failed: $1 (hint: $2)"
    publish_failure "$1 (hint: $2)"
    leave
    exit 1
}

leave() {
    [ -z "$mounted" ] || umount "$mounted" 2>/dev/null || :
    [ -z "$mounted" ] || rmdir "$mounted" 2>/dev/null || :
    mounted=
}

# shellcheck disable=SC2317,SC2329  # called by the trap
surprise() {
    [ -n "$ended" ] || fail "the start script was ended" "see $LOG, then: TIMEOUT=0 one-context-run force"
}

# --- OneGate ---------------------------------------------------------------------------------------------------------

# The value of a variable of the context. It is quoted for a shell, which is what OpenNebula's own agent reads it with.
context_value() {
    # shellcheck disable=SC1091  # it is there at run time only
    (set +u; . "$CONTEXT/context.sh"; eval "printf '%s' \"\${$1:-}\"") 2>/dev/null
}

# PUT to OneGate: path and body. The token is in a file: everybody may read the arguments of a command.
onegate_put() {
    endpoint=$(context_value ONEGATE_ENDPOINT)
    endpoint=${endpoint%/}
    vm=$(context_value VMID)
    [ -n "$endpoint" ] && [ -n "$vm" ] && [ -s "$CONTEXT/token.txt" ] || return 1
    token=$(tr -d '\r\n' <"$CONTEXT/token.txt")
    headers=$(mktemp "$STAGE/headers.XXXXXX") || return 1
    chmod 600 "$headers"
    code=1
    if command -v curl >/dev/null 2>&1; then
        printf 'X-ONEGATE-TOKEN: %s\nX-ONEGATE-VMID: %s\nContent-Type: text/plain\n' "$token" "$vm" >"$headers"
        curl -sS -f -m 20 -o /dev/null -X PUT -H "@$headers" --data-binary "$2" "$endpoint$1" && code=0
    elif command -v wget >/dev/null 2>&1; then
        printf 'header = X-ONEGATE-TOKEN: %s\nheader = X-ONEGATE-VMID: %s\nheader = Content-Type: text/plain\n' \
            "$token" "$vm" >"$headers"
        wget -q -T 20 -t 1 -O /dev/null --config="$headers" --method=PUT --body-data="$2" "$endpoint$1" && code=0
    elif command -v python3 >/dev/null 2>&1; then
        printf '%s\n%s\n' "$token" "$vm" >"$headers"
        python3 - "$endpoint$1" "$2" "$headers" <<'PYTHON' && code=0
import sys, urllib.request
url, body, headers = sys.argv[1:4]
token, vm = open(headers).read().split()
request = urllib.request.Request(url, body.encode(), method="PUT")
for name, value in ("X-ONEGATE-TOKEN", token), ("X-ONEGATE-VMID", vm), ("Content-Type", "text/plain"):
    request.add_header(name, value)
urllib.request.urlopen(request, timeout=20)
PYTHON
    fi
    rm -f "$headers"
    return "$code"
}

# What the operator's tool shows of a VM that has failed, in the words that `onefed boot` would use. What an earlier
# boot has said is not true any more.
publish_failure() {
    [ -f "$CONTEXT/context.sh" ] || return 0
    text=$(printf '%s' "$1" | head -c 2000 | base64 | tr -d '\n')
    onegate_put "/vm?type=2" READY 2>/dev/null
    onegate_put "/vm?type=2" FL_ENDPOINT 2>/dev/null
    onegate_put /vm "FL_STATE=failed
FL_ERROR=install_failed
FL_ERROR_TEXT=$text" || say "the failure could not be published through OneGate"
}

# --- Context ---------------------------------------------------------------------------------------------------------

# The directory with what is on the context disk: where the agent has mounted it, else mounted here.
context_disk() {
    if [ -f "${MOUNT_DIR:-}/context.sh" ]; then
        disk=$MOUNT_DIR
        return
    fi
    device=$(blkid -l -t LABEL=CONTEXT -o device 2>/dev/null || :)
    [ -n "$device" ] || return 1
    mounted=$(mktemp -d /run/onefed-start.XXXXXX) || return 1
    mount -o ro "$device" "$mounted" || return 1
    disk=$mounted
    [ -f "$disk/context.sh" ]
}

# Puts a file where others read it, whole or not at all; returns 1 where it is the same already.
place() {
    [ -f "$2" ] && cmp -s "$1" "$2" && return 1
    if mkdir -p "${2%/*}" && cp "$1" "$2.new" && chmod "$3" "$2.new" && sync "$2.new" && mv -f "$2.new" "$2"; then
        return 0
    fi
    fail "$2 cannot be written" "look whether the disk is full"
}

take_context() {
    disk=
    context_disk || disk=
    source=${disk:+$disk/context.sh}
    # Without a disk (another hypervisor) the agent's copy still is there.
    for copy in "${CONTEXT_FILE:-}" /var/run/one-context/context.sh.network /var/run/one-context/context.sh.local; do
        [ -f "$source" ] || source=$copy
    done
    [ -f "$source" ] || fail "there is no context: no disk with the label CONTEXT, and none of one-context's" \
        "the image needs OpenNebula's contextualization, and the VM a CONTEXT"
    mkdir -p "$CONTEXT"
    chmod 700 "$CONTEXT"
    context_changed=
    place "$source" "$CONTEXT/context.sh" 600 && context_changed=yes
    if [ -n "$disk" ] && [ -f "$disk/token.txt" ]; then
        place "$disk/token.txt" "$CONTEXT/token.txt" 600 && context_changed=yes
    fi
    say "the context is ${disk:-that of one-context}${context_changed:+, and new}"
}

# The release that this VM is to run: what its context says, else the federation's.
choose_release() {
    own=$(context_value FLOWER_VERSION)
    case $own in
    *[!0-9.]*) fail "FLOWER_VERSION is '$own', which is no release of Flower" "it has the form X.Y.Z" ;;
    esac
    FLOWER_VERSION=${own:-$FLOWER_VERSION}
    say "onefed for Flower $FLOWER_VERSION"
}

# --- Files -----------------------------------------------------------------------------------------------------------

is() {
    [ -f "$2" ] && [ "$(sha256sum <"$2" | cut -d ' ' -f 1)" = "$1" ]
}

# One try; what it says last is why it failed.
download() {
    if command -v curl >/dev/null 2>&1; then
        curl -sS -f -L --proto '=http,https' --connect-timeout 20 --speed-limit 1 --speed-time 60 -o "$2" "$1"
    elif command -v wget >/dev/null 2>&1; then
        wget -nv -T 60 -t 1 -O "$2" "$1"
    else
        python3 -c 'import shutil, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=60) as source, open(sys.argv[2], "wb") as target:
    shutil.copyfileobj(source, target)' "$1" "$2"
    fi
}

# Brings a file to the stage and verifies it: what it is, its URL or its file on the context disk, its checksum, where.
bring() {
    is "$4" "$5" && return
    rm -f "$5" "$5.part"
    if [ -n "$3" ]; then
        if [ -z "$disk" ] || [ ! -f "$disk/$3" ]; then
            fail "$1: the context disk has no file $3" \
                "the VM template's FILES_DS must name the image $3; onefed apply sees to it"
        fi
        cp "$disk/$3" "$5.part" || fail "$1: $3 cannot be copied to $5.part" "look whether the disk is full"
        from="file $3 of the context disk"
    else
        from=$2
        { command -v curl || command -v wget || command -v python3; } >/dev/null ||
            fail "there is no curl, no wget and no python3 to download with" \
                "name a file in a FILES datastore in place of url, or install one of them into the image"
        say "$1: downloading $2"
        pause=2
        until why=$(download "$2" "$5.part" 2>&1); do
            why=$(printf '%s' "$why" | tail -n 1)
            case $why in
            *[Ee][Rr][Rr][Oo][Rr]*' 40'[0134]* | *[Ee][Rr][Rr][Oo][Rr]*' 410'*)
                fail "$1: $2: $why" "correct the address in [install], or put the file there"
                ;;
            esac
            in_time || fail "$1: $2 could not be downloaded in $PATIENCE s: $why" \
                "look whether this VM reaches that address, then: TIMEOUT=0 one-context-run force"
            say "$1: $2: $why; trying again in $pause s"
            sleep "$pause"
            [ "$pause" -ge 30 ] || pause=$((pause * 2))
        done
    fi
    if ! is "$4" "$5.part"; then
        sum=$(sha256sum <"$5.part" | cut -d ' ' -f 1)
        rm -f "$5.part"
        fail "$1: $from is not what the plan says: its SHA-256 is $sum, and should be $4" \
            "correct the address or sha256 in [install]; nothing of it was used"
    fi
    sync "$5.part"
    mv -f "$5.part" "$5"
    say "$1: $from has the right checksum"
}

# --- Installation ----------------------------------------------------------------------------------------------------

# Whether this VM runs Flower from an environment of its own.
needs_flower() {
    [ "$(context_value FL_ROLE)" != gateway ] && [ "$(context_value FL_RUNTIME)" != container ]
}

# Everything that is missing is fetched and verified before anything of it is used.
fetch() {
    is "$ONEFED_SHA256" "$BINARY" || bring onefed "$ONEFED_URL" "$ONEFED_FILE" "$ONEFED_SHA256" "$STAGE/onefed"
    flower_done && return
    [ -z "$WHEELS_SHA256" ] || bring "Flower's wheels" "$WHEELS_URL" "$WHEELS_FILE" "$WHEELS_SHA256" "$STAGE/wheels.tar"
    [ -z "$REQUIREMENTS_SHA256" ] || bring requirements "$REQUIREMENTS_URL" "$REQUIREMENTS_FILE" \
        "$REQUIREMENTS_SHA256" "$STAGE/requirements.txt"
}

install_onefed() {
    is "$ONEFED_SHA256" "$BINARY" && return
    if ! why=$(mkdir -p "${BINARY%/*}" && cp "$STAGE/onefed" "$BINARY.new" && chmod 755 "$BINARY.new" &&
        "$BINARY.new" --version 2>&1); then
        rm -f "$BINARY.new"
        fail "the onefed binary does not run here: $(printf '%s' "$why" | tail -n 1)" \
            "it must be one for this machine ($(uname -m)); give its address and sha256 in [install]"
    fi
    sync "$BINARY.new"
    mv -f "$BINARY.new" "$BINARY"
    say "installed $why as $BINARY"
}

make_users() {
    printf '%s' "$SYSUSERS" >"$STAGE/sysusers"
    place "$STAGE/sysusers" /etc/sysusers.d/onefed.conf 644
    getent passwd onefed >/dev/null && getent passwd flower >/dev/null && return
    why=$(systemd-sysusers /etc/sysusers.d/onefed.conf 2>&1) ||
        fail "the users onefed and flower cannot be made: $(printf '%s' "$why" | tail -n 1)" \
            "look whether the image has other users with these names or the number 49999"
    say "made the users onefed and flower"
}

# What an environment is made from: another release or another list makes another environment.
flower_key() {
    printf '%s %s %s %s' "$FLOWER_VERSION" "$WHEELS_SHA256" "$REQUIREMENTS_SHA256" "$INDEX"
}

flower_done() {
    needs_flower || return 0
    [ "$(cat "$FLOWER/onefed-start" 2>/dev/null)" = "$(flower_key)" ]
}

# apt may be busy with the updates of a first boot.
apt_install() {
    command -v apt-get >/dev/null 2>&1 ||
        fail "python3 has no module venv, and there is no apt-get to install it with" "use Ubuntu 24.04 or Debian 12"
    say "installing $* by apt-get"
    until why=$({ apt-get -q -o DPkg::Lock::Timeout=120 update &&
        DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@"
    } 2>&1); do
        printf '%s\n' "$why" >>"$LOG"
        why=$(printf '%s' "$why" | tail -n 1)
        in_time || fail "apt-get could not install $* in $PATIENCE s: $why" \
            "look whether this VM reaches its package mirror, or use an image with $*"
        say "apt-get: $why; trying again in 10 s"
        sleep 10
    done
}

python_ready() {
    python3 -c 'import venv, ensurepip, sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1
}

# pip, whose words go to the log.
pip() {
    "$new/bin/python" -m pip install --no-input --disable-pip-version-check --no-cache-dir --progress-bar off "$@"
}

install_flower() {
    flower_done && return
    python_ready || apt_install python3 python3-venv
    python_ready || fail "python3 cannot make virtual environments, or is older than 3.10: $(python3 --version 2>&1)" \
        "use an image of Ubuntu 24.04 or Debian 12"
    new=$FLOWER-$(flower_key | sha256sum | cut -c 1-12)
    # What a killed run has left.
    rm -rf "$new"
    mkdir -p "${new%/*}"
    why=$(python3 -m venv "$new" 2>&1) ||
        fail "the Python environment $new cannot be made: $(printf '%s' "$why" | tail -n 1)" "see $LOG"
    set -- "flwr==$FLOWER_VERSION"
    [ -z "$REQUIREMENTS_SHA256" ] || set -- --require-hashes -r "$STAGE/requirements.txt"
    if [ -n "$WHEELS_SHA256" ]; then
        rm -rf "$STAGE/wheels"
        mkdir "$STAGE/wheels" "$STAGE/wheels/all"
        tar -x -f "$STAGE/wheels.tar" -C "$STAGE/wheels" --no-same-owner 2>>"$LOG" ||
            fail "Flower's wheels: the archive cannot be unpacked" "it must be a tar of wheels"
        find "$STAGE/wheels" -path "$STAGE/wheels/all" -prune -o -name '*.whl' -exec mv {} "$STAGE/wheels/all/" \;
        set -- --no-index --find-links "$STAGE/wheels/all" "$@"
    elif [ -n "$INDEX" ]; then
        case $INDEX in
        http://*)
            # Hashes vouch for what comes from there; pip wants to be told.
            host=${INDEX#http://}
            set -- --trusted-host "${host%%/*}" "$@"
            ;;
        esac
        set -- --index-url "$INDEX" "$@"
    fi
    say "installing Flower $FLOWER_VERSION into $new"
    until why=$(pip "$@" 2>&1); do
        printf '%s\n' "$why" >>"$LOG"
        # An index that cannot be reached may be reached later; everything else stays as it is.
        case $why in
        *'Retrying ('* | *'timed out'* | *Connection*) again=yes ;;
        *) again= ;;
        esac
        why=$(printf '%s' "$why" | grep -i error | tail -n 1)
        if [ -n "$WHEELS_SHA256" ] || [ -z "$again" ] || ! in_time; then
            fail "pip could not install Flower $FLOWER_VERSION: $why" "see $LOG for all that pip said"
        fi
        say "pip: $why; trying again in 10 s"
        sleep 10
    done
    found=$("$new/bin/python" -c 'import importlib.metadata as m; print(m.version("flwr"))' 2>/dev/null)
    [ "$found" = "$FLOWER_VERSION" ] ||
        fail "the environment has Flower ${found:-none}, and the plan wants $FLOWER_VERSION" \
            "the requirements in [install] must pin flwr==$FLOWER_VERSION"
    flower_key >"$new/onefed-start"
    sync
    ln -sfn "${new##*/}" "$FLOWER.new"
    # An image may have a directory there.
    [ -L "$FLOWER" ] || [ ! -e "$FLOWER" ] || mv -f "$FLOWER" "$FLOWER.of-the-image"
    mv -fT "$FLOWER.new" "$FLOWER"
    say "Flower $FLOWER_VERSION is in $FLOWER"
}

# The unit that boots onefed, as an image with onefed in it has it; only the binary is elsewhere.
install_unit() {
    unit_changed=
    printf '%s' "$BOOT_UNIT" >"$STAGE/unit"
    place "$STAGE/unit" "$UNITS/onefed-boot.service" 644 && unit_changed=yes
    printf '[Service]\nExecStart=\nExecStart=%s boot\n' "$BINARY" >"$STAGE/unit"
    place "$STAGE/unit" "$UNITS/onefed-boot.service.d/50-start.conf" 644 && unit_changed=yes
    rm -f "$STAGE/unit"
    if [ -n "$unit_changed" ]; then
        system daemon-reload
        system enable onefed-boot.service
    fi
}

# systemctl, without the lock that this script holds.
system() {
    why=$(systemctl "$@" 2>&1 9>&-) || fail "systemctl $*: $(printf '%s' "$why" | tail -n 1)" \
        "the image must run systemd; see $LOG"
}

# Never waiting: the unit comes after the contextualization, which waits for this script.
boot() {
    verb=start
    [ -z "$context_changed" ] || verb=reload-or-restart
    [ -z "$unit_changed$binary_changed" ] || verb=restart
    system "$verb" --no-block onefed-boot.service
    say "onefed boots this VM: journalctl -u onefed-boot"
}

# ---------------------------------------------------------------------------------------------------------------------

cd /
mkdir -p "$STAGE" "${LOG%/*}"
chmod 700 "$STAGE"
: >>"$LOG"
chmod 640 "$LOG"
[ "$(id -u)" = 0 ] || fail "this is not root" "the contextualization runs it as root"
trap surprise EXIT
trap 'exit 143' TERM INT HUP
# One at a time: a run that was killed may have left a program that still writes.
exec 9>/run/onefed-start.lock
flock -w "$PATIENCE" 9 || fail "another start script is still at work" "see $LOG"
rm -f "$STAGE"/headers.*

take_context
choose_release
binary_changed=
is "$ONEFED_SHA256" "$BINARY" || binary_changed=yes
fetch
install_onefed
make_users
install_flower
install_unit
leave
rm -rf "$STAGE/wheels" "$STAGE/wheels.tar" "$STAGE/requirements.txt" "$STAGE/onefed" "$STAGE/sysusers"
ended=yes
boot
