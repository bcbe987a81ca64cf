#!/bin/bash
# What the proxy's container is asked to do beside running; its image has a shell that opens sockets, and no HTTP client.
#   proxy.sh health   exit status 0 when the proxy answers
#   proxy.sh drain    takes no new connections, and returns when no call is left or after GRACE_S seconds
set -eu
EDGE_PORT=${EDGE_PORT:-8080} ADMIN_PORT=${ADMIN_PORT:-9901} GRACE_S=${GRACE_S:-20}

ask() { # port, method, path
  exec 3<>"/dev/tcp/127.0.0.1/$1"
  printf '%s %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n' "$2" "$3" >&3
  cat <&3
  exec 3>&-
}

case ${1:-} in
  health)
    ask "$EDGE_PORT" GET /healthz | grep -q '^HTTP/1.1 200'
    ;;
  drain)
    # https://www.envoyproxy.io/docs/envoy/latest/operations/admin: tells each connection to end after its next answer, then
    # closes the edge's listening socket; the servers still reach each other, for what they do for the last calls.
    ask "$ADMIN_PORT" POST /healthcheck/fail >/dev/null
    ask "$ADMIN_PORT" POST '/drain_listeners?graceful&skip_exit' >/dev/null
    ask "$ADMIN_PORT" POST '/drain_listeners?inboundonly' >/dev/null
    until=$((SECONDS + GRACE_S))
    while ((SECONDS < until)); do
      ask "$ADMIN_PORT" GET '/stats?filter=http.edge.downstream_rq_active' | grep -q 'rq_active: 0' && exit 0
      sleep 0.2
    done
    ;;
  *)
    sed -n '2,4s/^# //p' "$0"
    exit 2
    ;;
esac
