#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Fuzzes the shim's reply parser with libFuzzer, address and undefined behaviour sanitisers on:
#
#   test/fuzz/reply.sh [SECONDS]      20 if left out
#
# Ends with 1 and the input that did it, if one crashes.

set -eu

seconds=${1:-20}
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

command -v clang >/dev/null || { echo 'clang is missing: apt-get install clang' >&2; exit 1; }
clang -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all "$here/reply_fuzz.c" \
	-o "$scratch/fuzz" -lpam 2>"$scratch/log" || {
	cat "$scratch/log" >&2
	echo "The fuzzer does not build: if its runtime is missing, apt-get install libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev" >&2
	exit 1
}

# Where it starts from: one of each kind, and the words that a mutation would take long to find.
mkdir "$scratch/corpus"
printf 'authnft 1\nresult=ok\nsession=authnft-alice-42.scope\ncorrelation=token-1\nend\n' >"$scratch/corpus/ok"
printf 'authnft 1\nresult=refused\nsay=Ask the administrator \342\200\223 now.\nend\n' >"$scratch/corpus/refused"
printf 'authnft 1\nresult=ok\nend\n' >"$scratch/corpus/close"
printf 'authnft 1\nresult=ok\nlater=\360\237\220\237\nend\n' >"$scratch/corpus/later"
cat >"$scratch/words" <<'WORDS'
"authnft 1\x0a"
"end\x0a"
"result=ok\x0a"
"result=refused\x0a"
"session="
"correlation="
"say="
"\xc2\x9b"
"\xed\xa0\x80"
"\xf4\x90\x80\x80"
WORDS

# One byte over the limit is the longest input that means anything.
"$scratch/fuzz" -max_total_time="$seconds" -max_len=4097 -dict="$scratch/words" -artifact_prefix="$scratch/" \
	-print_final_stats=1 -verbosity=0 "$scratch/corpus" 2>"$scratch/log" || {
	cat "$scratch/log" >&2
	for input in "$scratch"/crash-* "$scratch"/leak-* "$scratch"/timeout-* "$scratch"/oom-*; do
		[ -e "$input" ] || continue
		echo "The input, in base64: $(base64 -w0 "$input")" >&2
	done
	exit 1
}
echo "reply parser: $(sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/log") inputs in $seconds s, none crashed"
