//go:build faults

package faults

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Case is one fault.
type Case struct {
	Name string
	// How tells, for who reads docs/faults.md, how the fault is made.
	How string
	// Modes are the modes of target that it is tried in; nil: both.
	Modes []string
	Needs Needs
	// Alone keeps others from running meanwhile: it uses up the machine, or measures it.
	Alone bool
	// Slow leaves it out of samples: it takes a minute or more.
	Slow bool
	// Within is how soon after healing all must be equal; 0: 20 s.
	Within time.Duration
	Setup  Setup
	// Try makes the fault and heals it. It ends the test if that cannot be done.
	Try func(w *World)
}

// Setup says in what a World differs from the usual one.
type Setup struct {
	Files   int      // that the source begins with; 0: 40
	Members int      // of etcd; 0: one
	Parted  bool     // etcd's members reach each other through proxies
	Version string   // of etcd's servers; empty: that of the -etcd flag
	Etcd    []string // more flags of etcd's servers
	Publish []string // more flags of the publisher
	Agent   []string // more flags of the agent
	// Empty starts neither publisher nor agent: Try does.
	Empty bool
	// TLS has etcd ask for certificates, and show one: those of World.Keys.
	TLS bool
}

// Needs are what a case cannot do without.
type Needs struct {
	// Work says what has to be written before it can be tried, and what stands for it
	// meanwhile: the document lists it as not tried.
	Work     string
	Root     bool
	Mounts   bool     // may mount, seen by itself alone; that takes root
	Programs []string // with the Debian package after a colon, if it has another name
}

// missing tells what is not there, "" if all is.
func (n Needs) missing() string {
	if n.Work != "" {
		return n.Work
	}
	if n.Root && os.Getuid() != 0 {
		return "needs root"
	}
	if n.Mounts && !mountsApart() {
		return "needs root and a mount namespace"
	}
	for _, p := range n.Programs {
		name, _, _ := strings.Cut(p, ":")
		if _, err := exec.LookPath(name); err != nil {
			return "needs " + name
		}
	}
	return ""
}

// server is the path of etcd's server.
func (s Setup) server() string {
	if s.Version == "" {
		return *etcdFlag
	}
	return *etcdFlag + "-" + s.Version
}

// missing tells what is not there, "" if all is.
func (c Case) missing() string {
	if _, err := os.Stat(c.Setup.server()); err != nil {
		return "needs etcd " + c.Setup.Version + ", which .ci/old-etcd can make here if it succeeds"
	}
	return c.Needs.missing()
}

// Group is a kind of faults, with its cases.
type Group struct {
	Name  string
	Cases []Case
}

// groups is the whole table.
func groups() []Group {
	return []Group{
		{"killed", killedCases()},
		{"power", powerCases()},
		{"etcd", etcdCases()},
		{"data", dataCases()},
		{"source", sourceCases()},
		{"target", targetCases()},
		{"time", timeCases()},
		{"standby", standbyCases()},
		{"tenant", tenantCases()},
		{"sweep", sweepCases()},
		{"hooks", hooksCases()},
	}
}

func (c Case) modes() []string {
	if c.Modes == nil {
		return []string{"files", "tree"}
	}
	return c.Modes
}

func (c Case) within() time.Duration {
	if c.Within == 0 {
		return 20 * time.Second
	}
	return c.Within
}

// run tries the case in one mode.
func (c Case) run(t *testing.T, group, mode string) {
	r := &Result{Group: group, Name: c.Name, How: c.How, Mode: mode, Began: time.Now(), Counts: make(map[string]int)}
	defer results.add(t, r)
	if r.Skipped = c.missing(); r.Skipped != "" {
		t.Skipf("SKIP %s: %s", t.Name(), r.Skipped) // A sample shows no other line of those that are left out.
	}
	if group != "source" {
		// While a fault lasts, random deletions gather in one changeset: the guard against
		// that is the source's subject.
		c.Setup.Publish = append([]string{"--max-delete", "100%"}, c.Setup.Publish...)
	}
	w := newWorld(t, c, mode, r)
	if !c.Setup.Empty {
		w.Start()
	}
	c.Try(w)
	w.Converge()
	w.rest()
}
