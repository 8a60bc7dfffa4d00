#!/bin/sh
# What the image starts: `locust …` and shells as they are; everything else is a command of llmlocust.
set -eu

# As root (so docker-compose.yml starts the master) it becomes the owner of the reports folder:
# the files there then belong to whoever made the folder, and nothing runs as root.
if [ "$(id -u)" = 0 ] && [ "$(stat -c %u reports)" != 0 ]; then
  exec setpriv --reuid="$(stat -c %u reports)" --regid="$(stat -c %g reports)" --clear-groups "$0" "$@"
fi

case "${1:-}" in
  locust | sh | bash | python3) exec "$@" ;;
  # a server that only its own container can reach would be of no use
  simulate) shift && exec llmlocust simulate --host 0.0.0.0 "$@" ;;
  *) exec llmlocust "$@" ;;
esac
