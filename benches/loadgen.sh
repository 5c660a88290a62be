#!/usr/bin/env bash
# loadgen beside redis-benchmark, and memtier_benchmark where it is installed, in turn against the same
# redis-server, the server on CPU 0 and the client on CPU 1: what a request costs the client, and whether their
# percentiles agree.
#
#   benches/loadgen.sh [LOADGEN [ROUNDS [PART]]]      PART: cost, percentiles, or both if not given
#
# Cost is user and system time of the client over the requests, in microseconds: the median of the rounds
# (least to greatest), and redis-benchmark's over loadgen's, which is how many times the requests a CPU
# second makes.
#
# Percentiles are medians of the rounds, in microseconds. redis-benchmark's histogram has steps of 8 us. They
# can only agree where the tool is no part of what is measured: where the server keeps each connection waiting
# for a time of its own (a long EVAL, BLPOP of a list that is not there). With many connections and a server
# that is always busy, how soon a tool sends again decides which requests the server finds together. What tells
# then is Little's law: with n requests on the way at any time the mean latency is n over the rate. The last
# columns show the mean times the rate over n for each.
set -euo pipefail
loadgen=${1:-target/release/loadgen}
rounds=${2:-5}
part=${3:-both}
port=${PORT:-7397}
taskset -c 0 redis-server --port "$port" --save '' --appendonly no >/dev/null &
server=$!
rows=$(mktemp)
json=$(mktemp)
trap 'kill $server; rm -f "$rows" "$json"' EXIT
until redis-cli -p "$port" ping >/dev/null 2>&1; do sleep 0.1; done

# cost ROW TOOL REQUESTS COMMAND...: appends "ROW TOOL us".
cost() {
    local row=$1 tool=$2 requests=$3 times
    shift 3
    TIMEFORMAT='%U %S'
    times=$({ time taskset -c 1 "$@" >/dev/null 2>&1; } 2>&1)
    awk -v row="$row" -v tool="$tool" -v n="$requests" \
        '{ print row, tool, ($1 + $2) / n * 1e6 }' <<<"$times" >>"$rows"
}

costs() {
    local depth command requests
    : >"$rows"
    for _ in $(seq "$rounds"); do
        for depth in 1 16; do
            requests=$((depth == 1 ? 150000 : 1000000))
            for command in get set; do
                cost "$command-depth-$depth" theirs "$requests" redis-benchmark -p "$port" -c 50 \
                    -n "$requests" -P "$depth" -t "$command" -r 100000 --csv
                cost "$command-depth-$depth" ours "$requests" "$loadgen" -p "$port" -c 50 \
                    -n "$requests" -P "$depth" --mix "$command=1" -r 100000 --quiet
            done
        done
    done
    echo "CPU a request, us        redis-benchmark                 loadgen                ratio"
    sort -k1,1 -k2,2 -k3,3n "$rows" | awk '
        function spread(a, n) { return sprintf("%.3f (%.3f to %.3f)", a[int((n + 1) / 2)], a[1], a[n]) }
        function flush() {
            if (row != "")
                printf "%-16s %28s %28s %8.2f\n", row, spread(t, nt), spread(o, no),
                    t[int((nt + 1) / 2)] / o[int((no + 1) / 2)]
            nt = no = 0
        }
        $1 != row { flush(); row = $1 }
        $2 == "theirs" { t[++nt] = $3 }
        $2 == "ours" { o[++no] = $3 }
        END { flush() }'
}

# percentiles ROW REQUESTS CONNECTIONS DEPTH THEIRS OURS MEMTIERS, the last three split into words at `|`:
# appends "ROW TOOL p50 p95 p99 mean rate", in microseconds.
percentiles() {
    local row=$1 requests=$2 connections=$3 depth=$4 theirs ours memtiers
    IFS='|' read -ra theirs <<<"$5"
    IFS='|' read -ra ours <<<"$6"
    IFS='|' read -ra memtiers <<<"$7"
    taskset -c 1 redis-benchmark -p "$port" -c "$connections" -n "$requests" -P "$depth" -r 100000 --csv \
        "${theirs[@]}" 2>/dev/null | tail -1 | tr -d '"' | awk -F, -v row="$row" '{
            print row, "redis-benchmark", $(NF - 3) * 1000, $(NF - 2) * 1000, $(NF - 1) * 1000,
                $(NF - 5) * 1000, $(NF - 6)
        }' >>"$rows"
    "$loadgen" -p "$port" -c "$connections" -n "$requests" -P "$depth" -r 100000 --cpus 1 --quiet \
        --json "$json" "${ours[@]}" >/dev/null
    python3 - "$row" "$json" >>"$rows" <<'PYTHON'
import json, sys
summary = json.load(open(sys.argv[2]))["runs"][0]["summary"]
latency = summary["latency_us"]
figures = [latency[name] for name in ("p50", "p95", "p99", "mean")]
print(sys.argv[1], "loadgen", *figures, summary["requests_per_s"])
PYTHON
    command -v memtier_benchmark >/dev/null || return 0
    taskset -c 1 memtier_benchmark -p "$port" -t 1 -c "$connections" -n "$((requests / connections))" \
        --pipeline "$depth" -d 3 --key-minimum 1 --key-maximum 100000 --hide-histogram \
        --print-percentiles 50,95,99 --json-out-file "$json" "${memtiers[@]}" >/dev/null 2>&1
    python3 - "$row" "$json" >>"$rows" <<'PYTHON'
import json, sys
totals = json.load(open(sys.argv[2]))["ALL STATS"]["Totals"]
figures = [totals["Percentile Latencies"][name] for name in ("p50.00", "p95.00", "p99.00")]
mean = totals["Accumulated Latency"] / totals["Count"]
print(sys.argv[1], "memtier", *(figure * 1000 for figure in [*figures, mean]), totals["Ops/sec"])
PYTHON
}

all_percentiles() {
    local script='for i=1,3000 do end return 1' long='for i=1,200000 do end return 1'
    : >"$rows"
    for _ in $(seq "$rounds"); do
        percentiles get-1 60000 1 1 '-t|get' '--mix|get=1' '--ratio|0:1'
        percentiles set-2 100000 2 1 '-t|set' '--mix|set=1' '--ratio|1:0'
        percentiles eval-1 3000 1 1 "eval|$long|0" "--mix|eval '$long' 0 {=none}=1" \
            "--command|eval \"$long\" 0"
        percentiles blpop-50 1000 50 1 'blpop|nokey|0.02' '--mix|blpop {=nokey} 0.02' \
            '--command|blpop nokey 0.02'
        percentiles eval-50 40000 50 1 "eval|$script|0" "--mix|eval '$script' 0 {=none}=1" \
            "--command|eval \"$script\" 0"
        percentiles get-50 150000 50 1 '-t|get' '--mix|get=1' '--ratio|0:1'
        percentiles get-50x16 1000000 50 16 '-t|get' '--mix|get=1' '--ratio|0:1'
    done
    echo
    python3 - "$rows" <<'PYTHON'
import statistics, sys
rows = {}
for line in open(sys.argv[1]):
    row, tool, *figures = line.split()
    rows.setdefault(row, {}).setdefault(tool, []).append([float(figure) for figure in figures])
tools = [tool for tool in ("redis-benchmark", "memtier", "loadgen") if tool in rows["get-1"]]
print("latency, us:", ", ".join(tools), "and, last, each one's mean x rate / n")
for row, figures in rows.items():
    connections, _, depth = row.split("-")[1].partition("x")
    on_the_way = int(connections) * int(depth or 1)
    medians = [[statistics.median(column) for column in zip(*figures[tool])] for tool in tools]
    cells = [f"{row:<10}"]
    for index, name in enumerate(("p50", "p95", "p99")):
        cells.append(f"{name} " + " ".join(f"{median[index]:>7.0f}" for median in medians))
    cells += [f"{median[3] * median[4] / 1e6 / on_the_way:>5.2f}" for median in medians]
    print("  ".join(cells))
PYTHON
}

[ "$part" = percentiles ] || costs
[ "$part" = cost ] || all_percentiles
