#!/usr/bin/env bash
# Is schema.sql what Alembic makes up to production's revision? With --write, makes it so. Needs the backend's image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The last release; seed.sql says it too.
revision=0002
header="-- The schema of revision $revision, as \`alembic upgrade $revision --sql\` prints it. Made by production/schema.sh --write."

generated() {
  printf '%s\n\n' "$header"
  # Alembic only prints: no database is asked.
  docker compose run --rm --no-deps -T --entrypoint alembic backend upgrade "$revision" --sql 2>/dev/null | sed 's/ *$//'
}

case ${1:-} in
  --write) generated >production/schema.sql.new && mv production/schema.sql.new production/schema.sql ;;
  '') diff -u production/schema.sql <(generated) && echo "production/schema.sql is revision $revision" ;;
  *) echo "Usage: production/schema.sh [--write]" >&2 && exit 64 ;;
esac
