# what: lsyncd with rsync, delay 0; it syncs nothing to disk
# needs: lsyncd rsync
# runs: daemon
cat > "$STATE/lsyncd.lua" <<LUA
settings { nodaemon = true, statusFile = "$STATE/status", insist = true }
sync { default.rsync, source = "$SOURCE/", target = "$TARGET/", delay = 0, rsync = { archive = true } }
LUA
exec lsyncd "$STATE/lsyncd.lua"
