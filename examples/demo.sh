# shellcheck shell=bash disable=SC2154 # Names of install.sh.
# The demo on examples/todo, and its way back. A part of install.sh, which sources it.

todo=$here/examples/todo
readonly MARK='# Written by install.sh --demo for this machine; delete this line to keep your own changes.'

confirm() {
  [[ -z $yes ]] || return 0
  [[ -t 0 && -t 2 ]] || return 1
  local answer
  read -r -p "$1 [y/N] " answer
  [[ $answer == [yY]* ]]
}

prepare_packages() {
  local missing
  missing=$(machine_check || true)
  if [[ -n $missing ]]; then
    printf '%s\n' "$missing" >&2
    can_install || exit 1
    confirm "Install that from the system's packages?" || die "install what is missing, or run ./install.sh --demo --yes"
    # shellcheck disable=SC2119 # All parts.
    machine_install || exit 1
  fi
}

prepare_engine() {
  if ! engine_answers; then
    confirm "Start the Docker Engine?" || die "the Docker Engine does not run: tests/machine.sh start"
    LAKEBASE_JOIN_DOCKER=$yes machine_start || {
      # 75: this user has just been put into Docker's group, which takes a new session to count.
      (($? == 75)) || exit 1
      exec sg docker -c "$(printf '%q ' "$here/install.sh" --demo --yes)"
    }
  fi
}

git_here() { git -C "$here" "$@"; }

# The branch is named after git's user and branch, so both have to be there. What is set here, --uninstall takes back.
prepare_git() {
  local why key value name
  why=$(git_here rev-parse --git-dir 2>&1 >/dev/null) || die "the demo's branch is named after git's user and branch, but git says of $here: ${why#fatal: }"
  forget_git_user "$here" # The user may have said who they are since.
  name=$(id -un)
  for key in user.name user.email; do
    [[ -z $(git_here config "$key") ]] || continue
    value=$name
    [[ $key == user.name ]] || value=$name@localhost
    confirm "git has no $key; use \`$value\` in this clone alone?" || die "git has no $key: git config --global $key '$value'"
    record git-user "$here" "$key=$value"
    git_here config --local "$key" "$value"
    note "git had no $key: in this clone it is \`$value\` now; \`git config --global $key …\` and another run change that"
  done
  git_here symbolic-ref --quiet HEAD >/dev/null || attach_head
}

attach_head() {
  local name
  name=lakebase-demo-$(git_here rev-parse --short HEAD)
  confirm "HEAD is detached; switch to a new git branch \`$name\`?" || die "HEAD is detached, it is on no git branch: git switch -c $name"
  record git-branch "$here" "$name"
  git_here switch --quiet --create "$name" 2>/dev/null || git_here switch --quiet "$name" || die "HEAD is detached, it is on no git branch: git switch BRANCH"
  note "HEAD was detached: it is on the new git branch \`$name\` now"
}

forget_git_user() {
  local folder setting
  while IFS=$'\t' read -r folder setting; do
    if [[ $folder == "$1" && $(git -C "$1" config --local "${setting%%=*}") == "${setting#*=}" ]]; then
      git -C "$1" config --local --unset "${setting%%=*}"
    fi
  done < <(each git-user)
}

# Detached again, and without the branch unless it has commits of its own.
forget_git_branch() {
  local folder name
  while IFS=$'\t' read -r folder name; do
    [[ $folder == "$1" && $(git -C "$1" rev-parse --short "refs/heads/$name" 2>/dev/null) == "${name##*-}" ]] || continue
    if [[ $(git -C "$1" symbolic-ref --quiet HEAD) == "refs/heads/$name" ]]; then git -C "$1" switch --quiet --detach; fi
    git -C "$1" branch --quiet -d "$name" 2>/dev/null || true
  done < <(each git-branch)
}

is_marked() { [[ -e $1 ]] && head -n 1 "$1" | grep -qxF -- "$MARK"; }

# Files of the demo in examples/todo: git-ignored, and written only where they are absent or ours.
write_ours() {
  local file=$1
  if [[ -e $file ]] && ! is_marked "$file"; then
    warn "$file is your own and stays as it is; it may need these lines:"
    sed 's/^/    /' >&2
    return
  fi
  { printf '%s\n' "$MARK" && cat; } >"$file.new"
  if cmp -s "$file.new" "$file"; then rm "$file.new"; else mv -f "$file.new" "$file"; fi
}

# Prints the body of a page of this machine; nothing is needed for it but bash.
get() {
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return
  printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
  sed '1,/^\r*$/d' <&3
  exec 3>&-
}

# Ends a process and what it started; what runs as root by sudo too.
end_tree() {
  local child
  for child in $(if has pgrep; then pgrep -P "$1"; else cat "/proc/$1/task/$1/children"; fi 2>/dev/null); do end_tree "$child"; done
  kill "$1" 2>/dev/null || { ((EUID != 0)) && sudo -n kill "$1" 2>/dev/null; } || true
}

# Prints the folder of another Compose project that has this name.
project_elsewhere() {
  local folder
  while IFS= read -r folder; do
    if [[ -n $folder && ! $folder -ef $2 ]]; then printf '%s\n' "$folder" && return; fi
  done < <(docker ps -a --filter "label=com.docker.compose.project=$1" --format '{{.Label "com.docker.compose.project.working_dir"}}')
  return 1
}

# What the engine does not have yet will be the demo's own.
record_demo() {
  local project=$1 kind name
  recorded demo "$todo" "$project" || record demo "$todo" "$project"
  while read -r kind name; do
    docker "$kind" inspect "$name" >/dev/null 2>&1 || recorded "$kind" "$name" - || record "$kind" "$name" -
  done < <(
    echo "volume ${project}_postgres-data"
    echo "image $project-backend"
    "$here/tests/images/build.sh" --names | sed 's/^/image /'
  )
}

demo() {
  local images=$LAKEBASE_CACHE/images.env builder project other port=${TODO_PORT:-5001}
  export PATH=$bin:$PATH
  prepare_packages
  prepare_git
  prepare_engine
  project=$(cd "$todo" && docker compose config 2>/dev/null | sed -n 's/^name: //p')
  project=${project:-todo}
  other=$(project_elsewhere "$project" "$todo") && die "there is a Compose project called $project already, in $other; end it first: docker compose -p $project down"
  record_demo "$project"
  # Beside the compiler: most of it is waiting for downloads.
  LAKEBASE_LOG=$LAKEBASE_CACHE/images.log "$here/tests/images/build.sh" >"$images" &
  builder=$!
  # shellcheck disable=SC2064 # The process of now.
  trap "end_tree $builder" EXIT
  build
  install_programs
  install_gateway
  wait "$builder" || die "there are no base images for examples/todo"
  trap - EXIT
  if [[ -s $images ]]; then write_ours "$todo/.env" <"$images"; elif is_marked "$todo/.env"; then rm -f "$todo/.env"; fi
  [[ -e $todo/lakebase.config ]] || write_ours "$todo/lakebase.config" <"$todo/lakebase.config.example"

  step "Starting the embedded Lakebase"
  logged cargo-lakebase embedded start
  cd "$todo" || return
  step "Making the project, and production with its 120,000 tasks"
  logged cargo-lakebase init
  logged cargo-lakebase psql --parent -- -f production/seed.sql
  step "docker compose lakebase up -d"
  logged docker compose lakebase up -d --build --wait --wait-timeout 180
  get "$port" /api/health | grep -q '"ok"' || die "the backend does not answer on port $port: cd examples/todo && docker compose lakebase logs backend"
  farewell "$port"
}

farewell() {
  local info
  info=$(get "$1" /api/info | tr -d '\n')
  cat <<TEXT

The to-do app runs on a branch of production, made for this git branch:
  $info

Open  http://localhost:$1/api/tasks    production's tasks
      http://localhost:$1/api/info     which database it is

Try next, in examples/todo:
  cargo lakebase status                                 the branch, its age, when it goes
  cargo lakebase psql -- -c 'SELECT count(*) FROM tasks'
  git switch -c try-it && docker compose lakebase up -d    a second branch of its own
  docker compose lakebase destroy                       ends it and deletes the branch; production stays
  docker compose --profile local up -d                  the same app on a local, empty Postgres
TEXT
  if [[ :$path_before: != *:$bin:* ]]; then printf '\nFirst: %s\n' "export PATH=\"$bin:\$PATH\""; fi
}

# The demo's containers and files.
uninstall_demo() {
  local folder=$1 project=$2 file other
  [[ -e $folder/compose.yaml ]] || return 0
  step "Ending the demo in $folder"
  if engine_answers; then
    if other=$(project_elsewhere "$project" "$folder"); then
      warn "the Compose project $project is that of $other now; its containers stay"
    else
      (cd "$folder" && logged docker compose -p "$project" --profile '*' down --remove-orphans) || warn "the demo's containers could not be removed"
    fi
  fi
  for file in "$folder/.env" "$folder/lakebase.config"; do
    if is_marked "$file"; then rm -f "$file"; fi
  done
  rm -rf "$folder/.lakebase"
}
