#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Runs a command in a cgroup of its own, which it sees as the root of a cgroup2 mounted at DIRECTORY, with the two
# cgroups that systemd would have made. Takes everything away again:
#
#   in-cgroup.sh DIRECTORY command [argument ...]

set -eu

# The second time, in a mount namespace of its own.
if [ "${1:-}" != inside ]; then
	exec unshare --mount sh "$0" inside "$@"
fi
shift
directory=$1
shift

mount -t cgroup2 none "$directory"
group=$directory/authnft-test-$$
mkdir "$group" "$group/init.scope" "$group/authnft.slice"
# A process that still ends keeps its cgroup for a moment.
trap 'for try in 1 2 3 4 5; do
	find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || :
	[ -e "$group" ] || break
	sleep 0.2
done' EXIT

status=0
# shellcheck disable=SC2016 # the inner shell's variables
sh -c '
	echo 0 >"$1/cgroup.procs"
	directory=$2
	shift 2
	exec unshare --cgroup --mount sh -c '\''
		umount "$0" && mount -t cgroup2 none "$0" &&
			exec "$@"
	'\'' "$directory" "$@"
' sh "$group" "$directory" "$@" || status=$?
exit $status
