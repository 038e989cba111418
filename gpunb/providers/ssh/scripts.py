"""What runs on the machine: POSIX shell, so that it needs no Python there.

Each script is sent to ``sh -s`` with its values as variables before it. It answers in lines that begin with a
nonce, so that what a login shell prints is not taken for an answer.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from gpunb.providers.ssh.record import owner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunb.providers.ssh.record import Record

__all__ = ["END", "PROBE", "SETUP", "compose", "setup_values"]

_HEAD = r"""
LC_ALL=C; export LC_ALL; umask 077; unset CDPATH
say() { printf '\n%s %s\n' "$N" "$*"; }
fail() { say failed "$@"; exit 3; }
say begin
uid=$(id -u)
bases="$HOME/.gpunb /var/tmp/.gpunb-$uid /tmp/.gpunb-$uid"
"""

PROBE = (
    _HEAD
    + r"""
say user "$(id -un)"
say cores "$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null)"
say ram_kb "$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo 2>/dev/null)"
say disk_kb "$(df -Pk "$HOME" 2>/dev/null | awk 'NR == 2 { print $4 }')"
say cpu "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>/dev/null | head -n 1)"
say now "$(date +%s)"
for p in /venv/main/bin/python /opt/conda/bin/python python3 python3.13 python3.12 python3.11 python3.10 \
  python3.9 python3.8 python; do
  "$p" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1 && { say python "$p"; break; }
done
if command -v nvidia-smi >/dev/null 2>&1; then
  limit=; command -v timeout >/dev/null 2>&1 && limit='timeout 15'
  $limit nvidia-smi --query-gpu=index,uuid,name,memory.total --format=csv,noheader,nounits 2>/dev/null |
    while read -r line; do say gpu "$line"; done
  $limit nvidia-smi --query-compute-apps=gpu_uuid --format=csv,noheader 2>/dev/null | sort -u |
    while read -r line; do say used "$line"; done
fi
for b in $bases; do
  for f in "$b"/s/*/about; do
    i=${f%/about}
    [ -O "$f" ] && say session "id ${i##*/} $(tr '\n' ' ' <"$f")"
  done
done
say done
"""
)

# One editor of authorized_keys at a time. The lock is a folder, which every file system makes whole or not.
_KEYS = r"""
keys=$HOME/.ssh/authorized_keys
lock() {
  n=0
  until mkdir "$HOME/.ssh/.gpunb-lock" 2>/dev/null; do
    n=$((n + 1))
    [ -n "$(find "$HOME/.ssh/.gpunb-lock" -prune -mmin +2 2>/dev/null)" ] && rmdir "$HOME/.ssh/.gpunb-lock"
    [ -d "$HOME/.ssh/.gpunb-lock" ] || [ -w "$HOME/.ssh" ] || fail keys "$HOME/.ssh can't be written"
    [ $n -le 30 ] || fail keys "$HOME/.ssh/.gpunb-lock stays: another program holds authorized_keys"
    sleep 1
  done
  trap 'rmdir "$HOME/.ssh/.gpunb-lock" 2>/dev/null' EXIT
}
unlock() { rmdir "$HOME/.ssh/.gpunb-lock" 2>/dev/null; trap - EXIT; }
bytes() { wc -c <"$1" | tr -d ' '; }
real() { r=$(readlink -f "$keys" 2>/dev/null); printf %s "${r:-$keys}"; }
"""

SETUP = (
    _HEAD
    + _KEYS
    + r"""
base=
for b in $bases; do
  mkdir -p "$b/s" 2>/dev/null && [ -O "$b" ] && [ ! -L "$b" ] && mkdir "$b/s/$ID" 2>/dev/null || continue
  if printf '%s\n' "label $LABEL" "gpus $GPUS" "made $MADE" "by $BY" >"$b/s/$ID/about" 2>/dev/null &&
    [ "$(bytes "$b/s/$ID/about")" -gt 10 ]; then base=$b; break; fi
  rm -rf "$b/s/$ID"
done
[ -n "$base" ] || fail folder "no folder can be written (tried $bases): is the disk full, or read-only?"
folder=$base/s/$ID
undo() { rm -rf "$folder"; rmdir "$base/s" "$base" 2>/dev/null; fail "$@"; }
case $folder in
  *[!A-Za-z0-9/._+@=,:-]*) undo folder "the path $folder has characters that sshd can't take";;
esac
chmod 700 "$base" "$folder"
[ -d "$HOME/.ssh" ] || { mkdir "$HOME/.ssh" 2>/dev/null && : >"$base/made-ssh"; } ||
  undo keys "$HOME/.ssh can't be made: is the home folder read-only?"
lock
if [ -n "$GPUS" ] && [ -z "$SHARE" ]; then
  for b in $bases; do
    for f in "$b"/s/*/about; do
      [ -O "$f" ] && [ "$f" != "$folder/about" ] || continue
      for g in $(sed -n 's/^gpus //p' "$f" | tr ',' ' '); do
        case ",$GPUS," in *",$g,"*) undo taken "GPU $g was given to another session just now";; esac
      done
    done
  done
fi
{
  printf '%s\n' '#!/bin/sh' '# gpunb: every login with the key of this session comes through here'
  printf '%s\n' "GPUNB_FOLDER='$folder' GPUNB_SESSION='$ID'" 'export GPUNB_FOLDER GPUNB_SESSION' "$ENV"
  printf '%s\n' 'cd "$HOME" 2>/dev/null' 'case ${SSH_ORIGINAL_COMMAND-} in'
  printf '%s\n' '"") exec "${SHELL:-/bin/sh}" -l;;'
  printf '%s\n' 'internal-sftp|internal-sftp\ *|*/sftp-server|*/sftp-server\ *)' \
    '  for s in /usr/lib/openssh /usr/lib/ssh /usr/libexec/openssh /usr/libexec; do' \
    '    [ -x "$s/sftp-server" ] && exec "$s/sftp-server"' \
    '  done; echo "this machine has no sftp-server" >&2; exit 127;;' 'esac'
  printf '%s\n' 'exec "${SHELL:-/bin/sh}" -c "$SSH_ORIGINAL_COMMAND"'
} >"$folder/enter" 2>/dev/null || undo folder "$folder can't be written: is the disk full?"
[ "$(tail -n 1 "$folder/enter" 2>/dev/null)" = 'exec "${SHELL:-/bin/sh}" -c "$SSH_ORIGINAL_COMMAND"' ] ||
  undo folder "$folder can't be written: is the disk full?"
line="restrict,pty,port-forwarding,command=\"sh $folder/enter\" $KEY $LABEL"
to=$(real)
[ -e "$to" ] || { : >"$to" && : >"$base/made-keys"; } 2>/dev/null || undo keys "$to can't be made"
new=$to.gpunb-$ID
cp -p "$to" "$new" 2>/dev/null || { rm -f "$new"; undo keys "$to can't be copied: is the disk full?"; }
if [ -s "$to" ] && [ -n "$(tail -c 1 "$to")" ]; then
  printf '\n%s' "$line" >>"$new"
else
  printf '%s\n' "$line" >>"$new"
fi 2>/dev/null
want=$(($(bytes "$to") + ${#line} + 1))
[ "$(bytes "$new")" = "$want" ] && mv -f "$new" "$to" 2>/dev/null ||
  { rm -f "$new"; undo keys "$to can't be written: is the disk full, or read-only?"; }
unlock
say folder "$folder"
say done
"""
)

# Processes of the session have its mark in their environment, as every login gets it, this script's own too.
END = (
    _HEAD
    + _KEYS
    + r"""
up=" $$ "; p=$$
above() { sed -n 's/^PPid:[^0-9]*//p' "/proc/$1/status" 2>/dev/null; }
while p=$(above $p) && [ "${p:-0}" -gt 1 ]; do up="$up$p "; done
marked() {
  for f in $(grep -lF "GPUNB_SESSION=$ID" /proc/[0-9]*/environ 2>/dev/null); do
    p=${f#/proc/}; p=${p%/environ}
    case $up in *" $p "*) continue;; esac
    over=$(above "$p") || continue
    [ "$over" = $$ ] || echo "$p"
  done
}
nap() { sleep 0.1 2>/dev/null || sleep 1; }
signal=TERM; n=0
if [ -d /proc/self ]; then
  while left=$(marked) && [ -n "$left" ]; do
    for p in $left; do kill -s $signal "$p" 2>/dev/null; done
    n=$((n + 1)); [ $n -lt 20 ] || signal=KILL
    [ $n -lt 120 ] || fail processes "they do not end: $(echo $left)"
    nap
  done
else
  p=$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' "$HOME/.gpunb/s/$ID/agent.json" 2>/dev/null)
  [ -z "$p" ] || kill "$p" 2>/dev/null
fi
FOLDER=; base=
for b in $bases; do [ ! -d "$b/s/$ID" ] || { FOLDER=$b/s/$ID; base=$b; }; done
# what lets this session in goes last: a second try comes by the same way
for f in "$FOLDER"/* "$FOLDER"/.[!.]*; do
  case $f in
    /*/enter|/*/about) ;;
    /*/s/"$ID"/*) rm -rf "$f" 2>/dev/null || { nap; rm -rf "$f" 2>/dev/null; };;
  esac
done
if [ -d "$HOME/.ssh" ]; then
  lock
  to=$(real)
  ours() { awk 'index($0, "/s/" ENVIRON["ID"] "/enter") { print NR; exit }' "$to" 2>/dev/null; }
  while n=$(ours) && [ -n "$n" ]; do
    case $(sed -n "${n}p" "$to") in
      *" $LABEL") ;;
      *) fail keys "line $n of $to is not as gpunb wrote it: remove it by hand";;
    esac
    new=$to.gpunb-$ID
    cp -p "$to" "$new" 2>/dev/null
    before=0; [ "$n" -eq 1 ] || before=$(head -n $((n - 1)) "$to" | wc -c)
    if [ "$n" -gt "$(wc -l <"$to")" ]; then
      # the last line has no end: it was begun with one, as the line before had none
      [ "$before" -eq 0 ] || before=$((before - 1))
      want=$before
      { [ "$want" -eq 0 ] || head -c "$want" "$to"; } >"$new" 2>/dev/null
    else
      want=$(($(bytes "$to") - $(sed -n "${n}p" "$to" | wc -c)))
      { [ "$n" -eq 1 ] || head -n $((n - 1)) "$to"; tail -n +$((n + 1)) "$to"; } >"$new" 2>/dev/null
    fi
    [ "$(bytes "$new" 2>/dev/null)" = "$want" ] && mv -f "$new" "$to" 2>/dev/null ||
      { rm -f "$new"; fail keys "$to can't be written: is the disk full, or read-only?"; }
  done
  if [ -f "$base/made-keys" ] && [ ! -s "$to" ]; then rm -f "$to" "$base/made-keys"; fi
  unlock
  [ ! -f "$base/made-ssh" ] || { rmdir "$HOME/.ssh" 2>/dev/null && rm -f "$base/made-ssh"; }
fi
if [ -n "$FOLDER" ]; then
  rm -rf "$FOLDER"
  [ ! -e "$FOLDER" ] || fail folder "$FOLDER can't be removed"
  rmdir "$base/s" 2>/dev/null && rm -f "$base/made-keys" "$base/made-ssh"
  rmdir "$base" 2>/dev/null
fi
say done
"""
)


def compose(script: str, nonce: str, values: Mapping[str, str]) -> bytes:
    """The script as it is sent: its values first, exported for awk."""
    head = [f"{name}={shlex.quote(value)}; export {name}" for name, value in {"N": nonce, **values}.items()]
    return "\n".join([*head, script]).encode()


def setup_values(made: Record, env: Mapping[str, str], *, share: bool) -> dict[str, str]:
    """The values of SETUP; its logins get `env`, and the numbers of the GPUs that they may use."""
    gpus = ",".join(map(str, made.gpus or ()))
    given = dict(env) if made.gpus is None else {**env, "CUDA_VISIBLE_DEVICES": gpus}
    return {
        "ID": made.id,
        "LABEL": made.label,
        "KEY": made.key,
        "GPUS": gpus,
        "SHARE": "yes" if share else "",
        "MADE": f"{made.created:.0f}",
        "BY": owner(),
        "ENV": "\n".join(f"{name}={shlex.quote(value)}; export {name}" for name, value in given.items()),
    }
