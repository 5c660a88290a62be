#!/usr/bin/env bash
# What a request costs the client: redis-benchmark and loadgen in turn against the same redis-server, the
# server on CPU 0 and the client on CPU 1. Prints user + system time of the client over the requests, in
# microseconds, the throughput, and both clients' percentiles in milliseconds.
#
#   benches/loadgen.sh [LOADGEN [ROUNDS]]
set -euo pipefail
loadgen=${1:-target/release/loadgen}
rounds=${2:-3}
port=${PORT:-7397}
taskset -c 0 redis-server --port "$port" --save '' --appendonly no >/dev/null &
server=$!
trap 'kill $server' EXIT
until redis-cli -p "$port" ping >/dev/null 2>&1; do sleep 0.1; done

# timed NAME REQUESTS COMMAND...: runs it on CPU 1; its output goes to $out.
out=$(mktemp)
timed() {
    local name=$1 requests=$2 times
    shift 2
    TIMEFORMAT='%U %S %R'
    times=$({ time taskset -c 1 "$@" >"$out" 2>/dev/null; } 2>&1)
    awk -v name="$name" -v n="$requests" '{
        printf "%-28s %6.3f us CPU a request, %8.0f requests/s", name, ($1 + $2) / n * 1e6, n / $3
    }' <<<"$times"
}

for _ in $(seq "$rounds"); do
    for depth in 1 16; do
        requests=$((depth == 1 ? 300000 : 2000000))
        for command in set get; do
            timed "redis-benchmark $command -P $depth" "$requests" \
                redis-benchmark -p "$port" -c 50 -n "$requests" -P "$depth" -t "$command" -r 100000 --csv
            tail -1 "$out" | tr -d '"' | awk -F, '{ print ", p50", $5, "p95", $6, "p99", $7 }'
            timed "loadgen         $command -P $depth" "$requests" \
                "$loadgen" -p "$port" -c 50 -n "$requests" -P "$depth" --mix "$command=1" -r 100000 --quiet
            awk '/p50/ { print ", " $0; exit }' "$out"
        done
    done
done
