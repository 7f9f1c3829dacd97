# what: `rsync -a --fsync`, started for each edit
# needs: rsync
# runs: once
exec rsync -a --fsync --delete "$SOURCE/" "$TARGET/"
