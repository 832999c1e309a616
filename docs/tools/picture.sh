#!/usr/bin/env bash
# Draws the README's picture: `top` on a terminal of 80x24 in the middle of the demo.
#
#   docs/tools/picture.sh [COMMAND] > top.svg && mv top.svg docs/images/
#
# COMMAND is what shows `top`; without it, `cargo xtask demo`. Needs tmux and Python 3.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
socket=$(mktemp --dry-run --tmpdir fwt-picture.XXXXXX)
tmux=(tmux -S "$socket" -f /dev/null)
trap '"${tmux[@]}" kill-server 2> /dev/null || true; rm --force "$socket"' EXIT
has_ended() { "${tmux[@]}" capture-pane -p | grep --quiet --line-regexp ended; }

# The shell afterwards keeps the screen, so that an error can be shown.
TERM=xterm-256color "${tmux[@]}" new-session -d -x 80 -y 24 -c "$here/../.." \
    "${1:-cargo xtask demo}; echo ended; sleep 60"
# Building may take a while before anything is shown.
for ((second = 0; ; second++)); do
    screen=$("${tmux[@]}" capture-pane -p)
    [[ $screen != *"firewall top "* ]] || break
    if has_ended || ((second >= 1800)); then
        echo 'top did not show:' >&2
        "${tmux[@]}" capture-pane -p >&2
        exit 1
    fi
    sleep 1
done
sleep 6  # some history for the last column
screen=$("${tmux[@]}" capture-pane -e -p -N)
[[ $screen == *"firewall"*"top"* ]] || { echo "top ended too early" >&2; exit 1; }
"$here/ansi2svg.py" --title 'firewall-ctl top' <<< "$screen"
# The demo removes what it made when it is interrupted.
"${tmux[@]}" send-keys q
for ((second = 0; second < 60; second++)); do
    ! has_ended || exit 0
    sleep 1
done
