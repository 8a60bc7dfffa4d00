#!/bin/sh
# What the image starts: `locust …` and shells as they are, `master` and `worker` for docker-compose.yml; everything else is
# a command of llmlocust.
set -eu

# As root (so docker-compose.yml starts the master) it becomes the owner of the reports folder: the files there then
# belong to whoever made the folder. Docker makes a missing folder as root's, so that one is given to user 1000:
# nothing runs as root.
if [ "$(id -u)" = 0 ]; then
  [ "$(stat -c %u reports)" != 0 ] || chown 1000:1000 reports
  exec setpriv --reuid="$(stat -c %u reports)" --regid="$(stat -c %g reports)" --clear-groups "$0" "$@"
fi

# A child that is told to end when this is; the exit code is its own.
run() {
  "$@" &
  child=$!
  trap 'kill -TERM $child 2>/dev/null || true' TERM INT
  while :; do
    code=0
    wait $child || code=$?
    kill -0 $child 2>/dev/null || return $code # else a signal has ended the wait, and not the child
  done
}

case "${1:-}" in
  locust | sh | bash | python3) exec "$@" ;;
  # as Locust's operator for Kubernetes starts Locust's own image
  --master | --worker) exec locust "$@" ;;
  # a server that only its own container can reach would be of no use
  simulate) shift && exec llmlocust simulate --host 0.0.0.0 "$@" ;;
  # every run has its files in a folder named by the time, and gets its report when Locust ends, whatever it ended with
  master)
    shift
    folder="reports/$(date +%Y%m%d-%H%M%S)"
    ended=0 reported=0
    run locust --master --csv "$folder/run" "$@" || ended=$?
    for told in "$folder"/*_llm_run.json; do
      [ ! -e "$told" ] || llmlocust report "${told%_llm_run.json}" || reported=$?
    done
    rmdir "$folder" 2>/dev/null || true # nothing was run
    [ $ended != 0 ] || exit $reported
    exit $ended
    ;;
  # a worker that was well stays until it is stopped: `up --exit-code-from master` would take its end for that of the run
  worker)
    shift
    run locust --worker --exit-code-on-error 0 "$@"
    run sleep infinity || true
    ;;
  *) exec llmlocust "$@" ;;
esac
