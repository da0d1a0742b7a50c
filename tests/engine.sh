# shellcheck shell=bash
# The Docker Engine: started where no init system does it, and stopped. A part of machine.sh, which sources it.

# Is the process of this id (from a pid file) the program of this name?
is_process() { is_alive "$1" && [[ $(cat "/proc/$1/comm" 2>/dev/null) == "$2" ]]; }
# A process that has ended and waits for its parent is a zombie. (Its command line says nothing: it is empty during exec too.)
is_alive() { [[ -n $1 ]] && grep -q '^State:[[:space:]]*[^ZX]' "/proc/$1/status" 2>/dev/null; }
has_ended() { ! is_alive "$1"; }

# A machine that was stopped hard leaves pid files; where another process has that id by now, the engine would not start.
forget_stale_pids() {
  local file name
  for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
    name=dockerd
    [[ $file != *containerd.pid ]] || name=containerd
    if [[ -e $file ]] && ! is_process "$(cat "$file")" "$name"; then as_root rm -f "$file"; fi
  done
}

# A kernel without nftables needs the legacy iptables: found by the engine first on a PATH of its own, not by changing the system's.
iptables_path() {
  if as_root iptables -t nat -L -n >/dev/null 2>&1 || ! as_root iptables-legacy -t nat -L -n >/dev/null 2>&1; then
    printf '%s\n' "$PATH"
    return
  fi
  local folder=$LAKEBASE_CACHE/iptables-legacy tool
  mkdir -p "$folder"
  for tool in iptables ip6tables; do ln -sf "$(command -v "$tool-legacy")" "$folder/$tool"; done
  printf '%s:%s\n' "$folder" "$PATH"
}

start_by_hand() {
  local group=()
  ((EUID == 0)) || group=(--group "$(id -gn)") # So that this user reaches the socket.
  mkdir -p "$LAKEBASE_CACHE"
  forget_stale_pids
  # shellcheck disable=SC2016 # The inner shell expands these.
  as_root env "PATH=$(iptables_path)" sh -c 'log=$1; shift; setsid dockerd "$@" >"$log" 2>&1 </dev/null 9>&- & echo $!' \
    sh "$DOCKERD_LOG" "${group[@]}" >"$DOCKERD_OURS"
}

engine_answers_root() { as_root docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

engine_ready_or_dead() {
  engine_answers_root && return
  [[ ! -d /run/systemd/system ]] && has_ended "$(cat "$DOCKERD_OURS" 2>/dev/null)"
}

# The engine answers root, but not this user. Returns 75 where a new session of this user would help.
join_docker_group() {
  local user
  user=$(id -un)
  if [[ -z ${LAKEBASE_JOIN_DOCKER:-} ]] || ! has sg; then
    fail "the Docker Engine runs, but user $user may not use it: \`sudo usermod -aG docker $user\`, then log in again (members of that group can act as root)"
    return 1
  fi
  step "Adding user $user to the group docker (its members can act as root)"
  logged as_root usermod -aG docker "$user" || return 1
  note "your other shells know of it after the next login"
  return 75
}

machine_start() {
  engine_answers && return
  machine_check docker engine >&2 || return
  if [[ -n ${DOCKER_HOST:-} ]]; then
    fail "no Docker Engine answers at DOCKER_HOST; unset it, or start that engine"
    return 1
  fi
  [[ $(uname -s) == Linux ]] || { fail "the Docker Engine is not running: start Docker Desktop"; return 1; }
  ((EUID == 0)) || has sudo || { fail "no Docker Engine answers, and starting it needs root: as root, \`systemctl start docker\` or \`dockerd\`"; return 1; }
  mkdir -p "$LAKEBASE_CACHE"
  (
    flock 9 # Two starts at once would race for the engine's own lock.
    engine_answers_root && exit
    step "Starting the Docker Engine"
    if [[ -d /run/systemd/system ]]; then
      logged as_root systemctl start docker
    else
      start_by_hand
    fi
  ) 9>"$LAKEBASE_CACHE/start.lock" || return
  until_true 60 engine_ready_or_dead || true
  engine_answers && return
  if engine_answers_root; then
    join_docker_group
    return
  fi
  if [[ -d /run/systemd/system ]]; then
    fail "the Docker Engine does not answer: see \`journalctl -u docker\`"
    return 1
  fi
  fail "the Docker Engine did not start; its last lines, and all of them in $DOCKERD_LOG:"
  tail -n 15 "$DOCKERD_LOG" | sed 's/^/    /' >&2
  return 1
}

machine_stop() {
  local pid
  pid=$(cat "$DOCKERD_OURS" 2>/dev/null || true)
  if ! is_process "$pid" dockerd; then
    rm -f "$DOCKERD_OURS"
    note "no Docker Engine that was started from here is running"
    return
  fi
  step "Stopping the Docker Engine"
  as_root sh -c "kill $pid" # The shell's own: not every system has the program.
  until_true 60 has_ended "$pid" || { fail "the Docker Engine (process $pid) does not end"; return 1; }
  rm -f "$DOCKERD_OURS"
}
