#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds the three C programs, hardened as far as the compiler can:
#
#   native/build.sh DIRECTORY [CC] [shim] [member] [entry]
#
# DIRECTORY gets pam_authnft.so, authnft-member and authnft-entry. CC may be several words ("clang --target=aarch64-linux-gnu") and
# is cc if left out; naming a piece builds only that one. CPPFLAGS is added to all: the tests replace paths with it.

set -eu

out=${1:?usage: native/build.sh DIRECTORY [CC] [shim] [member] [entry]}
cc=${2:-cc}
shift
[ $# -eq 0 ] || shift
pieces=${*:-shim member entry}
here=$(cd "$(dirname "$0")" && pwd)
cppflags=${CPPFLAGS:-}

fail() {
	echo "native/build.sh: $*" >&2
	exit 1
}

mkdir -p "$out"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
echo 'int main(void) { return 0; }' >"$scratch/probe.c"

# Whether the compiler takes these flags without a word, up to the linked file.
takes() {
	$cc "$@" -Werror "$scratch/probe.c" -o "$scratch/probe" >/dev/null 2>&1
}

compiler=gcc
if $cc --version 2>/dev/null | grep -q clang; then compiler=clang; fi
machine=$($cc -dumpmachine) || fail "there is no compiler \"$cc\": apt-get install gcc (or clang)"

warnings='-std=gnu11 -Wall -Wextra -Werror -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes
	-Wpointer-arith -Wcast-qual -Wvla -Wundef'
harden='-O2 -fvisibility=hidden -fstack-protector-strong -fno-strict-aliasing
	-fno-delete-null-pointer-checks'
link='-Wl,-z,relro,-z,now,-z,noexecstack -Wl,--build-id=none'

# The processor's own control-flow checks, where there are any.
case $machine in
x86_64*)	harden="$harden -fcf-protection=full" ;;
aarch64*)	harden="$harden -mbranch-protection=standard" ;;
*)		fail "there is no entry for $machine: only x86_64 and aarch64 are known" ;;
esac
# Clang up to 15 wants to be talked into it.
for flags in -ftrivial-auto-var-init=zero '-ftrivial-auto-var-init=zero
	-enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang'; do
	# shellcheck disable=SC2086 # a list of flags
	if takes $flags; then
		harden="$harden $flags"
		break
	fi
done
# Touches every page of a large frame, so that it cannot jump over the guard page. Clang has it for some targets only.
if takes -fstack-clash-protection; then harden="$harden -fstack-clash-protection"; fi

# What they are made of. The decision who is a member is one source for both.
decision="$here/membership.c $here/helper.c $here/reply.c $here/text.c"
shim_sources="$here/pam_shim.c $here/request.c $decision"
member_sources="$here/member.c $decision"

# link_with_libc ARGUMENT ...: with what needs a C library.
link_with_libc() {
	fortify=2
	if takes -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3; then fortify=3; fi
	# Forward-edge CFI in software needs clang, link-time optimisation and lld.
	cfi=
	if [ $compiler = clang ] && takes -O2 -flto -fvisibility=hidden -fsanitize=cfi -fuse-ld=lld; then
		cfi='-flto -fsanitize=cfi -fuse-ld=lld'
	fi
	# shellcheck disable=SC2086 # lists of flags
	$cc $warnings $harden -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=$fortify $cfi $cppflags "$@" $link
}

build_shim() {
	# shellcheck disable=SC2086 # a list of files
	link_with_libc -fPIC -shared $shim_sources -o "$out/pam_authnft.so" -Wl,-z,defs -lpam
}

build_member() {
	# shellcheck disable=SC2086 # a list of files
	link_with_libc -fPIE -pie $member_sources -o "$out/authnft-member"
}

build_entry() {
	# No C library, so the canary cannot be in its thread data. On arm64 gcc would look a symbol up through a
	# relocation that nobody applies; the thread register points to it instead. Clang can address it directly.
	guard=-mstack-protector-guard=global
	case $machine-$compiler in
	aarch64*-gcc)
		guard='-mstack-protector-guard=sysreg -mstack-protector-guard-reg=tpidr_el0
			-mstack-protector-guard-offset=0' ;;
	aarch64*-clang)
		guard="$guard -fdirect-access-external-data" ;;
	esac
	# Our memcpy must not be turned into a call of memcpy. Clang knows that from -ffreestanding.
	idioms=
	if [ $compiler = gcc ]; then idioms=-fno-tree-loop-distribute-patterns; fi
	linker=
	case $cc in *--target=*) linker=-fuse-ld=lld ;; esac
	# shellcheck disable=SC2086 # lists of flags
	$cc $warnings $harden $guard $idioms $cppflags -ffreestanding -fno-builtin -fno-asynchronous-unwind-tables \
		-fPIE -nostdlib -static-pie $linker $link -Wl,--no-dynamic-linker "$here/entry.c" -o "$out/authnft-entry"
	# Its start does not apply relocations: there must be none.
	relocations=$(LC_ALL=C readelf -rW "$out/authnft-entry") || fail "readelf is missing: apt-get install binutils"
	case $relocations in *R_*)
		rm -f "$out/authnft-entry"
		fail "the entry came out with relocations, which nobody would apply" ;;
	esac
}

for piece in $pieces; do
	case $piece in
	shim|member|entry) build_"$piece" ;;
	*)		fail "there is no piece \"$piece\": shim, member and entry are all" ;;
	esac
done
