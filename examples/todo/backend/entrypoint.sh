#!/bin/sh
# Brings the database to the newest revision, then serves. A migration that fails ends the container: in PostgreSQL all
# pending migrations are one transaction, so the database stays at the revision it had.
set -eu
alembic upgrade head || {
  status=$?
  echo "todo: the migration failed (exit code $status); the server does not start" >&2
  exit "$status"
}
exec gunicorn --bind 0.0.0.0:5001 --workers 1 --threads 8 --worker-tmp-dir /dev/shm --no-control-socket --access-logfile - 'todo:create_app()'
