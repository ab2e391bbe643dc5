#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Checks the C programs without running them: warnings, static analysis, and what the finished files are made of.
# Prints a line for each check, and ends with 1 if one failed. Takes no arguments.
#
# shellcheck disable=SC2317 # the functions below are called through check

set -u

here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
objdump=objdump
LC_ALL=C
export LC_ALL

# check NAME COMMAND [ARGUMENT ...]: passes if the command succeeds; shows what it printed if not.
check() {
	name=$1
	shift
	if "$@" >"$scratch/log" 2>&1; then
		echo "ok    $name"
	else
		echo "FAIL  $name"
		sed 's/^/      /' "$scratch/log"
		failed=1
	fi
}

need() {
	command -v "$1" >/dev/null 2>&1 && return
	echo "FAIL  $1 is missing: apt-get install $2"
	failed=1
}

need gcc gcc
need clang clang
need ld.lld lld
need cppcheck cppcheck
need readelf binutils
[ -e /usr/include/security/pam_modules.h ] || need pam_modules.h libpam0g-dev
[ $failed -eq 0 ] || exit 1

# ---- what readelf and nm say of a file ----

segments() { readelf -lW "$1"; }
exports() {
	found=$(nm -D --defined-only "$1" | awk '{ print $NF }' | sort | tr '\n' ' ')
	[ "$found" = 'pam_sm_close_session pam_sm_open_session ' ] || { echo "exported: $found"; return 1; }
}
# What libc wants of a program it finds there, too: its own variables.
exports_nothing() {
	found=$(nm -D --defined-only "$1" | awk '{ print $NF }' | grep -Ev '^(stdin|stdout|stderr|_IO_stdin_used)(@|$)')
	[ -z "$found" ] || { echo "exported: $found"; return 1; }
}
needs_libc_alone() {
	found=$(readelf -dW "$1" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | tr '\n' ' ')
	[ "$found" = 'libc.so.6 ' ] || { echo "needed: $found"; return 1; }
}
relro() { segments "$1" | grep -q GNU_RELRO; }
bind_now() { readelf -dW "$1" | grep -Eq 'BIND_NOW|FLAGS_1.* NOW'; }
stack_not_executable() { segments "$1" | grep GNU_STACK | grep -q ' RW  '; }
nothing_writable_and_executable() { ! segments "$1" | grep -q ' RWE '; }
no_text_relocations() { ! readelf -dW "$1" | grep -Eq 'TEXTREL|RPATH|RUNPATH'; }
canary() { "$objdump" -d "$1" | grep -Eq '(call|bl)q?[[:space:]].*__stack_chk_fail'; }
fortified() { nm -D "$1" | grep -Eq 'U __[a-z]*_chk'; }
begins_with_a_mark() { "$objdump" -d --disassemble="$2" "$1" | grep -q endbr64; }
branch_targets() { readelf -nW "$1" | grep -Eq 'IBT, SHSTK|BTI, PAC'; }
no_interpreter() { ! segments "$1" | grep -q INTERP; }
nothing_needed() { ! readelf -dW "$1" | grep -q NEEDED; }
no_relocations() { readelf -rW "$1" | grep -q 'no relocations'; }
position_independent() { readelf -hW "$1" | grep -q 'Type: *DYN'; }
linked_by_lld() { readelf -p .comment "$1" | grep -q LLD; }
undefined_is_nothing() { [ -z "$(nm -u "$1")" ]; }

check_shim() {
	file=$2/pam_authnft.so
	check "$1: the shim exports its two functions and nothing else" exports "$file"
	check "$1: the shim has full RELRO" relro "$file"
	check "$1: the shim binds at load" bind_now "$file"
	check "$1: the shim's stack is not executable" stack_not_executable "$file"
	check "$1: the shim maps nothing writable and executable" nothing_writable_and_executable "$file"
	check "$1: the shim has no text relocation and no search path" no_text_relocations "$file"
	check "$1: the shim has stack canaries" canary "$file"
	check "$1: the shim's calls into libc are fortified" fortified "$file"
}

check_member() {
	file=$2/authnft-member
	check "$1: the member program exports nothing" exports_nothing "$file"
	check "$1: the member program needs nothing but the C library" needs_libc_alone "$file"
	check "$1: the member program is position independent" position_independent "$file"
	check "$1: the member program has full RELRO" relro "$file"
	check "$1: the member program binds at load" bind_now "$file"
	check "$1: the member program's stack is not executable" stack_not_executable "$file"
	check "$1: the member program maps nothing writable and executable" nothing_writable_and_executable "$file"
	check "$1: the member program has no text relocation and no search path" no_text_relocations "$file"
	check "$1: the member program has stack canaries" canary "$file"
	check "$1: the member program's calls into libc are fortified" fortified "$file"
}

check_entry() {
	file=$2/authnft-entry
	check "$1: the entry has no interpreter" no_interpreter "$file"
	check "$1: the entry needs no library" nothing_needed "$file"
	check "$1: the entry leaves nothing undefined" undefined_is_nothing "$file"
	check "$1: the entry has no relocations" no_relocations "$file"
	check "$1: the entry is position independent" position_independent "$file"
	check "$1: the entry has RELRO" relro "$file"
	check "$1: the entry's stack is not executable" stack_not_executable "$file"
	check "$1: the entry maps nothing writable and executable" nothing_writable_and_executable "$file"
	check "$1: the entry has stack canaries" canary "$file"
}

# ---- the checks ----

for cc in gcc clang; do
	check "$cc: builds without a warning" "$here/build.sh" "$scratch/$cc" $cc
	[ -e "$scratch/$cc/authnft-entry" ] || continue
	check_shim $cc "$scratch/$cc"
	check_member $cc "$scratch/$cc"
	check_entry $cc "$scratch/$cc"
done
if [ "$(uname -m)" = x86_64 ]; then
	# The whole file is marked only where libc's start files are too, which Debian's are not. The entry has none.
	for function in pam_sm_open_session pam_sm_close_session; do
		check "gcc: the shim marks $function as a branch target" \
			begins_with_a_mark "$scratch/gcc/pam_authnft.so" $function
	done
	check 'gcc: the entry marks its branch targets' branch_targets "$scratch/gcc/authnft-entry"
fi
check "clang: the shim is built with software CFI, which only lld links" linked_by_lld "$scratch/clang/pam_authnft.so"

# missingIncludeSystem: cppcheck brings its own models of libc. unusedStructMember: the kernel reads kernel_sigaction,
# which nobody here does.
check 'cppcheck: all programs' cppcheck --quiet --std=c11 --enable=warning,style,performance,portability \
	--error-exitcode=1 --inline-suppr --suppress=missingIncludeSystem \
	"--suppress=unusedStructMember:$here/entry.c" "$here"/*.c
for file in "$here"/*.c; do
	check "gcc -fanalyzer: ${file##*/}" gcc -std=gnu11 -O2 -fanalyzer -Wall -Wextra -Werror -c "$file" \
		-o "$scratch/analysed.o"
done

# The other architecture, where its compiler is at hand. It is not needed to build for one's own.
if command -v aarch64-linux-gnu-gcc >/dev/null 2>&1; then
	check 'gcc for arm64: the entry builds without a warning' \
		"$here/build.sh" "$scratch/arm64" aarch64-linux-gnu-gcc entry
	objdump=aarch64-linux-gnu-objdump
	check_entry 'gcc for arm64' "$scratch/arm64"
	check 'gcc for arm64: the entry marks its branch targets' branch_targets "$scratch/arm64/authnft-entry"
else
	echo 'none  arm64 is not checked: its gcc is not there (apt-get install gcc-aarch64-linux-gnu)'
fi

exit $failed
