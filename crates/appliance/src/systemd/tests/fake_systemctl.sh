#!/bin/sh
# A stand-in for systemctl: it keeps units in files beside it, as systemd keeps them in memory.
#   units/    what is on the disk         loaded/   what systemd has read
#   running/  what each running unit was started with
# Faults are files: fail-at (the number of the call that finds no bus), hang, refuse-UNIT, loops-UNIT.
D="${0%/*}"
while [ "${1#--no-}" != "$1" ]; do shift; done
echo "$*" >> "$D/calls"
calls=$(wc -l < "$D/calls")
if [ -e "$D/fail-at" ] && [ "$calls" -eq "$(cat "$D/fail-at")" ]; then
  echo "Failed to connect to bus: No such file or directory" >&2
  exit 1
fi
[ -e "$D/hang" ] && exec sleep 30
verb=$1
shift
[ "$verb" = show ] && shift
[ "$1" = -- ] && shift

read_unit() {
  [ -e "$D/loaded/$1" ] || [ ! -e "$D/units/$1" ] || cp "$D/units/$1" "$D/loaded/$1"
}

case $verb in
daemon-reload)
  rm -f "$D"/loaded/*
  for file in "$D"/units/*.service; do [ -e "$file" ] && cp "$file" "$D/loaded/"; done
  exit 0 ;;
start)
  read_unit "$1"
  if [ ! -e "$D/loaded/$1" ]; then
    echo "Failed to start $1: Unit $1 not found." >&2
    exit 5
  fi
  if [ -e "$D/refuse-$1" ]; then
    echo "Job for $1 failed because the control process exited with error code." >&2
    exit 1
  fi
  [ -e "$D/running/$1" ] || cp "$D/loaded/$1" "$D/running/$1" ;;
stop)
  rm -f "$D/running/$1" ;;
show)
  for unit; do
    read_unit "$unit"
    active=inactive sub=dead result=success status=0 restarts=0 pid=0 stale=no load=loaded started=0
    [ -e "$D/loaded/$unit" ] || load=not-found
    [ -e "$D/loaded/$unit" ] && [ -e "$D/units/$unit" ] && ! cmp -s "$D/loaded/$unit" "$D/units/$unit" && stale=yes
    [ -e "$D/running/$unit" ] && active=active sub=running pid=4711 started=$(cat "$D/started" 2>/dev/null || echo 1)
    [ -e "$D/refuse-$unit" ] && active=activating sub=auto-restart result=exit-code status=203 pid=0
    [ -e "$D/loops-$unit" ] && active=activating sub=auto-restart result=exit-code status=1 restarts=$(cat "$D/loops-$unit")
    [ "$unit" = "$1" ] || echo
    printf '%s\n' "Id=$unit" "LoadState=$load" "ActiveState=$active" "SubState=$sub" "Result=$result" \
      "NRestarts=$restarts" ExecMainCode=1 "ExecMainStatus=$status" "MainPID=$pid" "NeedDaemonReload=$stale" \
      "ExecMainStartTimestampMonotonic=$started"
  done ;;
*)
  echo "Unknown command verb $verb." >&2
  exit 1 ;;
esac
