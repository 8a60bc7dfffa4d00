#!/bin/sh
# Entry point of the image: runs `locust …` and shells unchanged, `master` and `worker` of docker-compose.yml, and all other
# commands as commands of llmlocust.
set -eu

# If started as root, as docker-compose.yml starts the master, it switches to the owner of the reports folder: the files then
# belong to the user that created the folder. Docker creates a missing folder as root; such a folder is given to user 1000, so
# that nothing runs as root.
if [ "$(id -u)" = 0 ]; then
  [ "$(stat -c %u reports)" != 0 ] || chown 1000:1000 reports
  exec setpriv --reuid="$(stat -c %u reports)" --regid="$(stat -c %g reports)" --clear-groups "$0" "$@"
fi

# Run a child, pass signals to end on to it, and return its exit code.
run() {
  "$@" &
  child=$!
  trap 'kill -TERM $child 2>/dev/null || true' TERM INT
  while :; do
    code=0
    wait $child || code=$?
    kill -0 $child 2>/dev/null || return $code # otherwise a signal ended the wait, not the child
  done
}

case "${1:-}" in
  locust | sh | bash | python3) exec "$@" ;;
  # the arguments that Locust's operator for Kubernetes passes
  --master | --worker) exec locust "$@" ;;
  # the server must be reachable from other containers
  simulate) shift && exec llmlocust simulate --host 0.0.0.0 "$@" ;;
  # each run writes to a folder named after the time, and gets a report when Locust ends, regardless of its exit code
  master)
    shift
    folder="reports/$(date +%Y%m%d-%H%M%S)"
    ended=0 reported=0
    run locust --master --csv "$folder/run" "$@" || ended=$?
    for file in "$folder"/*_llm_run.json; do
      [ ! -e "$file" ] || llmlocust report "${file%_llm_run.json}" || reported=$?
    done
    rmdir "$folder" 2>/dev/null || true # empty if there was no run
    [ $ended != 0 ] || exit $reported
    exit $ended
    ;;
  # a worker waits until it is stopped after a success: `up --exit-code-from master` would end the run when a worker exits
  worker)
    shift
    run locust --worker --exit-code-on-error 0 "$@"
    run sleep infinity || true
    ;;
  *) exec llmlocust "$@" ;;
esac
