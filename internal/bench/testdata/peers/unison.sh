# what: unison, polling every second, as Debian's has no watcher for it; it syncs nothing to disk
# needs: unison
# runs: daemon
export UNISON="$STATE/unison" HOME="$STATE"
exec unison "$SOURCE" "$TARGET" -batch -auto -repeat 1 -force "$SOURCE" -perms -1 -ui text -silent
