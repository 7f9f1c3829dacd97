# what: `etcdctl make-mirror` to a second etcd: from the Put to the event there, no files; that etcd syncs to disk
# needs: etcdctl
# runs: daemon
# between: etcds
exec etcdctl --endpoints "$ETCD" make-mirror --prefix "$PREFIX" "$MIRROR"
