//go:build faults

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// usage is what a process holds of what can leak.
type usage struct{ descriptors, watches int }

// Slack of descriptors: connections to etcd that come and go.
const slack = 6

// Measure takes what the daemons hold now as what they may hold at rest.
func (w *World) Measure() {
	w.Helper()
	for name, h := range w.daemons() {
		u, err := usageOf(h.Daemon.Cmd.Process.Pid)
		w.do(err)
		w.baseline[name] = u
	}
}

func (w *World) daemons() map[string]*lab.Host {
	all := make(map[string]*lab.Host)
	for name, h := range map[string]*lab.Host{"publisher": w.Source, "agent": w.Target} {
		if h.Daemon != nil && !h.Daemon.Over() {
			all[name] = h
		}
	}
	return all
}

// leaks compares what the daemons hold with what they held when they were in sync first,
// and as many watches more as there are directories more.
func (w *World) leaks() {
	w.Helper()
	for name, h := range w.daemons() {
		was, ok := w.baseline[name]
		if !ok {
			continue
		}
		dirs, err := directories(h.Dir)
		w.do(err)
		_, err = lab.Eventually(15*time.Second, func() error {
			is, err := usageOf(h.Daemon.Cmd.Process.Pid)
			if err == nil && (is.descriptors > was.descriptors+slack || is.watches > max(was.watches, dirs+8)) {
				err = fmt.Errorf("%s holds %+v, held %+v at first, with %d directories now", name, is, was, dirs)
			}
			return err
		})
		if err != nil {
			w.wrong("g", "%v", err)
			continue
		}
		w.result.checked("g", true)
	}
}

// directories counts those in a directory, its own included.
func directories(dir string) (n int, err error) {
	tree, err := lab.ReadTree(dir)
	n = 1
	for _, node := range tree {
		if node.Mode.IsDir() {
			n++
		}
	}
	return n, err
}

// usageOf reads what a process holds from /proc (proc_pid_fdinfo(5)).
func usageOf(pid int) (u usage, err error) {
	dir := fmt.Sprintf("/proc/%d/fdinfo", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return u, err
	}
	u.descriptors = len(entries)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if os.IsNotExist(err) {
			continue // closed meanwhile
		}
		if err != nil {
			return u, err
		}
		u.watches += strings.Count(string(b), "inotify wd:")
	}
	return u, nil
}
