//go:build !lean

// The scripts in testdata/script run the real program against a real etcd. Each is one
// behaviour, as an operator meets it. To run one: go test -run 'TestScript/push_guards'.
//
// A script has an etcd that it shares with the others, a prefix of its own there, a
// state directory, and the tenant "prod", all set in the environment; so "push --dir
// src" says enough. Beside testscript's own commands there are:
//
//	run CODE ARG...          run confsyncd, and demand that exit code
//	person CODE ARG...       the same on a terminal, which is all standard output then
//	until REGEXP ARG...      run it until its standard output matches
//	daemon NAME ARG...       run it in the background; output goes to NAME.out and NAME.err
//	end NAME [SIGNAL]        send the signal (TERM) and demand that it exits with 0
//	signal NAME SIGNAL       send HUP or USR1
//	notify FILE [USEC]       be the service manager of the daemons started after: what they tell
//	                         goes to FILE, and their watchdog's time is USEC microseconds
//	ask CODE NAME PATH REGEXP  get the page from the daemon, which answers for monitoring, until it comes with
//	                         that code and has a line that matches; with "!" before it, until it has none
//	silent FILE REGEXP       wait until no line that matches has come for eight seconds
//	await FILE REGEXP        wait until the file has a line that matches
//	! await FILE             wait until nothing is there
//	same DIR DIR             wait until both directories hold the same
//	tree DIR                 print mode, path and content of everything in it
//	etcd start|stop|wipe     an etcd of the script's own, always at the same address
//
// Contents of files never appear in a log, an error or a status. So that this is
// checked everywhere, files in scripts hold the word CONTENT, and no output may; but for
// those that show, diff and cat print.
package main

import (
	"context"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/confsyncd/confsyncd/internal/devetcd"
	"github.com/confsyncd/confsyncd/internal/devetcd/devetcdtest"
)

// TestMain lets more scripts run at once than there are cores, since most of them wait.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"confsyncd": main})
}

func TestScript(t *testing.T) {
	endpoint := devetcdtest.Start(t) // ends when all scripts have, which run in parallel
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			s := &script{dir: env.WorkDir, daemons: make(map[string]*daemon), address: devetcdtest.Address()}
			env.Values[key{}] = s
			env.Defer(s.close)
			env.Setenv("CONFSYNCD_ENDPOINTS", endpoint)
			env.Setenv("CONFSYNCD_PREFIX", "/"+filepath.Base(env.WorkDir))
			env.Setenv("CONFSYNCD_STATE_DIR", filepath.Join(env.WorkDir, ".state"))
			env.Setenv("CONFSYNCD_TENANT", "prod")
			// With -race each process would sleep for a second at its end.
			env.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=10")
			// Who runs the tests may have an etcd of their own.
			for _, name := range []string{"ENDPOINTS", "USER"} {
				env.Setenv("ETCDCTL_"+name, "")
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"run": command, "person": person, "until": until, "daemon": start, "end": end, "signal": send, "notify": listen, "silent": silent,
			"await": await, "ask": ask, "same": same, "tree": tree, "etcd": etcd,
		},
	})
}

// key is where a script keeps its own.
type key struct{}

// script is what one script has running.
type script struct {
	dir     string
	daemons map[string]*daemon
	server  *devetcd.Server // of its own; nil for most
	address string          // of that server
	sockets []net.Conn      // of the script as a service manager
}

func of(ts *testscript.TestScript) *script { return ts.Value(key{}).(*script) }

// close ends what a script has left running, whether it passed or not.
func (s *script) close() {
	for _, d := range s.daemons {
		d.kill()
	}
	for _, c := range s.sockets {
		c.Close()
	}
	s.stopEtcd()
}

func (s *script) startEtcd() error {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		server, err := devetcd.Start(context.Background(), devetcd.Options{Dir: s.etcdDir(), Address: s.address, NoFsync: true, Log: hclog.NewNullLogger()})
		if errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end) {
			continue // The one that was stopped may hold its address for a moment longer.
		}
		s.server = server
		return err
	}
}

func (s *script) stopEtcd() {
	if s.server != nil {
		s.server.Close()
		s.server = nil
	}
}

func (s *script) etcdDir() string { return filepath.Join(s.dir, ".etcd") }

// etcd starts, stops or empties the script's own etcd, and points the script to it.
func etcd(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts)
	if neg || len(args) != 1 {
		ts.Fatalf("usage: etcd start|stop|wipe")
	}
	switch args[0] {
	case "start":
		ts.Check(s.startEtcd())
	case "stop":
		s.stopEtcd()
	case "wipe":
		s.stopEtcd()
		ts.Check(os.RemoveAll(s.etcdDir()))
		ts.Check(s.startEtcd())
	default:
		ts.Fatalf("usage: etcd start|stop|wipe")
	}
	ts.Setenv("CONFSYNCD_ENDPOINTS", "http://"+s.address)
}
