//go:build !lean

package main

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// send sends a signal that a daemon survives.
func send(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1}
	if neg || len(args) != 2 || signals[args[1]] == 0 {
		ts.Fatalf("usage: signal NAME HUP|USR1")
	}
	d := of(ts).daemons[args[0]]
	if d == nil {
		ts.Fatalf("no daemon %s", args[0])
	}
	ts.Check(d.cmd.Process.Signal(signals[args[1]]))
}

// listen writes what daemons tell their service manager into a file.
func listen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: notify FILE [USEC]")
	}
	s := of(ts)
	// In the abstract namespace, as the path of a working directory may be too long.
	address := fmt.Sprintf("@confsyncd-test-%d-%s", os.Getpid(), args[0]+ts.Getenv("CONFSYNCD_PREFIX"))
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	ts.Check(err)
	s.sockets = append(s.sockets, conn)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	go func() {
		defer f.Close()
		b := make([]byte, 8<<10)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			_, _ = f.Write(append(b[:n:n], '\n'))
		}
	}()
	ts.Setenv("NOTIFY_SOCKET", address)
	ts.Setenv("WATCHDOG_USEC", append(args, "")[1])
}

func silent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: silent FILE REGEXP")
	}
	match := regexp.MustCompile("(?m)" + args[1])
	count, since := -1, time.Now()
	wait(ts, func() error {
		if now := len(match.FindAllString(ts.ReadFile(args[0]), -1)); now != count {
			count, since = now, time.Now()
		}
		if time.Since(since) < 8*time.Second {
			return fmt.Errorf("%d lines match, the last one came %v ago", count, time.Since(since))
		}
		return nil
	})
}
