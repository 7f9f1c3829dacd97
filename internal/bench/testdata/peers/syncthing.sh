# what: syncthing, two devices on this machine, watching with the least delay that it has (1 s); both sync to disk, as is its default
# needs: syncthing
# runs: daemon
export HOME="$STATE" STNODEFAULTFOLDER=1 STNOUPGRADE=1
a=$STATE/a b=$STATE/b
syncthing generate --home="$a" --no-default-folder >/dev/null
syncthing generate --home="$b" --no-default-folder >/dev/null
id() { syncthing --home="$1" --device-id; }
ida=$(id "$a") idb=$(id "$b")
port=$((20000 + $$ % 10000))
config() { # home, own port, kind, directory
    cat > "$1/config.xml" <<XML
<configuration version="35">
  <folder id="bench" label="bench" path="$4" type="$3" rescanIntervalS="3600" fsWatcherEnabled="true" fsWatcherDelayS="1" ignorePerms="false">
    <device id="$ida"></device><device id="$idb"></device>
  </folder>
  <device id="$ida" name="a"><address>tcp://127.0.0.1:$port</address></device>
  <device id="$idb" name="b"><address>tcp://127.0.0.1:$((port + 1))</address></device>
  <gui enabled="false"></gui>
  <options>
    <listenAddress>tcp://127.0.0.1:$2</listenAddress>
    <globalAnnounceEnabled>false</globalAnnounceEnabled><localAnnounceEnabled>false</localAnnounceEnabled>
    <relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled><urAccepted>-1</urAccepted>
    <reconnectionIntervalS>1</reconnectionIntervalS><crashReportingEnabled>false</crashReportingEnabled>
  </options>
</configuration>
XML
}
config "$a" "$port" sendonly "$SOURCE"
config "$b" "$((port + 1))" receiveonly "$TARGET"
mkdir -p "$SOURCE/.stfolder" "$TARGET/.stfolder"
syncthing serve --home="$b" --no-browser --no-restart --logfile="$STATE/b.log" >/dev/null &
second=$!
trap 'kill $second; wait' TERM EXIT
syncthing serve --home="$a" --no-browser --no-restart --logfile="$STATE/a.log" >/dev/null &
wait $!
