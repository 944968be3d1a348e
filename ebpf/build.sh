#!/bin/sh
# Builds monitor.bpf.o, the object that is in the tree, or with --check compares it with a fresh build.
# clang is pinned: another version makes another object. Debian 12: apt-get install clang-14 llvm-14
set -eu
cd "$(dirname "$0")"
clang=${CLANG:-clang-14} strip=${LLVM_STRIP:-llvm-strip-14}
for tool in "$clang" "$strip"; do
  command -v "$tool" >/dev/null || { echo "$0: $tool is not installed (Debian 12: clang-14, llvm-14)" >&2; exit 1; }
done
built=$(mktemp)
trap 'rm -f "$built"' EXIT
# -no-stack-slot-sharing: without CAP_PERFMON the verifier allows no half of a place on the stack to be written that held a
# pointer before. -nostdinc: nothing of this machine gets in. -fdebug-prefix-map: nor its paths.
"$clang" -target bpf -mcpu=v3 -mllvm -no-stack-slot-sharing -O2 -g -nostdinc -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-declarations \
  -fdebug-prefix-map="$PWD"=. -c monitor.bpf.c -o "$built"
"$strip" -g "$built"
if [ "${1:-}" = --check ]; then
  cmp "$built" monitor.bpf.o || { echo "$0: monitor.bpf.o is not what its source builds: run ebpf/build.sh and commit it" >&2; exit 1; }
else
  cp "$built" monitor.bpf.o
  chmod 644 monitor.bpf.o
fi
