# what: `rsync -a`, started for each edit; it syncs nothing to disk
# needs: rsync
# runs: once
exec rsync -a --delete "$SOURCE/" "$TARGET/"
