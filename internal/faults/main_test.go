//go:build faults

package faults

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var (
	programFlag  = flag.String("program", "", "the confsyncd that is tried; empty: built for it")
	sourceFlag   = flag.String("source", "../..", "the sources of the program, for cases that build it in a way of their own")
	etcdFlag     = flag.String("etcd", "../../bin/etcd", "etcd's server; etcdctl and etcdutl lie beside it")
	sampleFlag   = flag.Duration("sample", 0, "try cases at random for this long; 0: all")
	seedFlag     = flag.Uint64("seed", 0, "seed of what is drawn; 0: a new one")
	commitFlag   = flag.String("commit", "", "what the program is built from, as the results tell it")
	resultsFlag  = flag.String("results", "", "file that results are appended to")
	documentFlag = flag.String("document", "", "where to write what was seen, in Markdown")

	program string   // path of the confsyncd that is tried
	scratch string   // a directory that goes when all has ended
	results *Results // of all cases
)

func TestMain(m *testing.M) {
	swapIfAsked()
	flag.Parse()
	mountApart()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	if *seedFlag == 0 {
		*seedFlag = 1 + rand.Uint64N(1<<32)
	}
	var err error
	if *etcdFlag, err = filepath.Abs(*etcdFlag); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "confsyncd-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // It is temporary.
	scratch = dir
	if program, err = filepath.Abs(*programFlag); *programFlag == "" {
		program = filepath.Join(dir, "confsyncd")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", program, "../../cmd/confsyncd").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s", out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build confsyncd:", err)
		return 1
	}
	results = &Results{file: *resultsFlag}
	code := m.Run()
	if *documentFlag != "" {
		if err := results.write(*documentFlag); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

func theSeed() uint64 { return *seedFlag }
