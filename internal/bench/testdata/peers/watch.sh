# what: `etcdctl watch --exec`, which writes the file and renames it: the least that an agent for etcd can be; it syncs nothing to disk
# needs: etcdctl
# runs: daemon
# between: etcd and files
export TARGET PREFIX
exec etcdctl --endpoints "$ETCD" watch --prefix "$PREFIX" -- sh -c '
name=$(eval "printf %s $ETCD_WATCH_KEY"); name=${name#"$PREFIX"}
etcdctl --endpoints "'"$ETCD"'" get --print-value-only "$PREFIX$name" | head -c -1 > "$TARGET/.new" && mv "$TARGET/.new" "$TARGET/$name"'
