"""Build of the script that Vast runs at every start of the container.

It turns tmux off, so that a command over SSH is just run; makes the
container's environment visible to SSH sessions; writes the SSH server's
public keys into the container's log, where `HOST_KEY` marks them and the API
shows them; lets the session's key in
until Vast's own copy of it arrives; and arms the lease: when its time is over
and no supervisor ends the instance, the instance ends itself with the key that
Vast gives to each one (``CONTAINER_API_KEY``). The account's key is never sent
to it.
"""

from __future__ import annotations

import base64
import gzip
import shlex

from gpunb.errors import BadInput

__all__ = ["BOOT_GRACE_S", "HOST_KEY", "LEASE_FILE", "LEASE_GRACE_S", "MAX_BYTES", "compose"]

#: What the API takes; longer scripts travel compressed.
MAX_BYTES = 4048
#: Begins a line of the container's log that holds a host key's type and base64.
HOST_KEY = "gpunb-host-key"
#: Where the agent keeps the lease on the host; its ``deadline`` is Unix seconds, and moves with ``extend``.
#: ``uptime_end`` is the same in seconds of ``/proc/uptime``, for the boot that ``boot`` names: a clock
#: that NTP steps must neither end the instance early nor keep it.
LEASE_FILE = "$HOME/.gpunb/lease.json"
#: The host waits that long after the lease for the supervisor, which saves files first.
LEASE_GRACE_S = 600
#: A start after the lease's end (a stopped session, started again) leaves that long to renew it.
BOOT_GRACE_S = 900

_BASE = """#!/bin/bash
touch "$HOME/.no_auto_tmux"
mkdir -p "$HOME/.gpunb" && chmod 700 "$HOME/.gpunb"
G="${GPUNB_ENVIRONMENT:-/etc/environment}"
O="$HOME/.gpunb/environment"
[ -e "$O" ] || cp "$G" "$O" 2>/dev/null || : >"$O"
N='^(_|HOME|PWD|OLDPWD|SHLVL|TERM|HOSTNAME|GPUNB_ENVIRONMENT|GPUNB_SSHD)='
{ cat "$O"; env | grep -E '^[A-Za-z_][A-Za-z0-9_]*=' | grep -Ev "$N"; } >"$G"
"""

# to the script's own output, and to the container's, from which the API's log is made
_HOST_KEYS = f"""(D="${{GPUNB_SSHD:-/etc/ssh}}"; for n in $([ "$GPUNB_SSHD" ] || seq 60); do
ls "$D"/ssh_host_*_key.pub >/dev/null 2>&1 && break
sleep 1
done
for f in "$D"/ssh_host_*_key.pub; do
[ -r "$f" ] || continue
K="{HOST_KEY} $(cut -d' ' -f1,2 <"$f")"
echo "$K"; [ -z "$GPUNB_ENVIRONMENT" ] && echo "$K" >/proc/1/fd/1
done) 2>/dev/null &
"""

_KEY = """mkdir -p "$HOME/.ssh" && chmod 700 "$HOME/.ssh"
K={key}
grep -qxF "$K" "$HOME/.ssh/authorized_keys" 2>/dev/null || echo "$K" >>"$HOME/.ssh/authorized_keys"
chmod 600 "$HOME/.ssh/authorized_keys"
"""

_LEASE = """C='s/^(VAST_)?CONTAINER[A-Z_]*=[A-Za-z0-9._-]*$/export &/p'
[ -n "$CONTAINER_API_KEY" ] || eval "$(tr '\\0' '\\n' </proc/1/environ 2>/dev/null | sed -nE "$C")"
[ -s "{file}" ] || echo '{{"deadline": {deadline}}}' >"{file}"
cat >"$HOME/.gpunb/lease.sh" <<'GPUNB'
P="${{GPUNB_UPTIME:-/proc/uptime}}"
read -r T _ <"$P"
B=$(($(date +%s)+{boot})) V=$((${{T%.*}}+{boot}))
I=$(cat /proc/sys/kernel/random/boot_id)
cd "$HOME/.gpunb" && echo $$ >lease.pid
U="{url}/api/v0/instances/${{CONTAINER_ID:-${{VAST_CONTAINERLABEL#C.}}}}/"
A="Authorization: Bearer $CONTAINER_API_KEY"
J='Content-Type: application/json'
while sleep 30 && [ "$(cat lease.pid)" = $$ ]; do
N=$(date +%s) F=$B W=deadline
read -r T _ <"$P"
grep -q '"'"$I"'".*"uptime_end": *[0-9]' lease.json && N=${{T%.*}} F=$V W=uptime_end
D=$(sed -n 's/.*"'$W'": *\\([0-9][0-9]*\\).*/\\1/p' lease.json)
[ -n "$D" ] || continue
E=$((D+{grace})); [ $E -lt $F ] && E=$F
[ $N -lt $E ] && continue
curl -fsS -m 60 -X DELETE -H "$A" -H "$J" -d '{{}}' "$U" ||
wget -qO- -T 60 --method=DELETE --header="$A" --header="$J" --body-data='{{}}' "$U" ||
python3 -c 'import sys,urllib.request as u
r=u.Request(sys.argv[1],b"{{}}",{{"Authorization":sys.argv[2][15:]}},method="DELETE")
u.urlopen(r,timeout=60)' "$U" "$A"
done
GPUNB
[ -n "$CONTAINER_API_KEY" ] && (setsid bash "$HOME/.gpunb/lease.sh" >/dev/null 2>&1 &)
"""


def compose(
    *,
    deadline: float | None,
    public_key: str = "",
    user_script: str = "",
    base_url: str = "https://console.vast.ai",
) -> str:
    """Build the whole script, at most `MAX_BYTES` long.

    Parameters
    ----------
    deadline
        Unix time of the lease's end; None arms nothing.
    user_script
        What the user wants to be run, last.
    base_url
        Where the instance reaches Vast's API.

    Raises
    ------
    BadInput
        It does not fit, even compressed.
    """
    script = _BASE + _HOST_KEYS
    if public_key:
        script += _KEY.format(key=shlex.quote(public_key.strip()))
    if deadline is not None:
        script += _LEASE.format(
            file=LEASE_FILE, deadline=int(deadline), boot=BOOT_GRACE_S, grace=LEASE_GRACE_S, url=base_url
        )
    if user_script.strip():
        script += user_script.strip() + "\n"
    if len(script.encode()) <= MAX_BYTES:
        return script
    packed = base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode()
    small = f'#!/bin/bash\nS="$HOME/.gpunb-onstart"\necho {packed} | base64 -d | gunzip >"$S" && bash "$S"\n'
    if len(small) <= MAX_BYTES:
        return small
    msg = (
        f"onstart: the script has {len(user_script.encode())} bytes and does not fit into Vast's {MAX_BYTES}"
    )
    raise BadInput(msg, bill="nothing was rented", hint="send it with sync and start it with run instead")
