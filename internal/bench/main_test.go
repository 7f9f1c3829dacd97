//go:build bench

package bench

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var (
	programFlag = flag.String("program", "", "the confsyncd that is measured; empty: built for it, as packages do")
	etcdFlag    = flag.String("etcd", "../../bin/etcd", "etcd's server; etcdctl lies beside it")
	onlyFlag    = flag.String("only", "", "regular expression for the beginnings of the figures' names; empty: all")
	commitFlag  = flag.String("commit", "", "what the program is built from, as the document tells it")
	resultsFlag = flag.String("results", "", "file that results are appended to, and taken from where a figure is not measured now")
	docFlag     = flag.String("document", "", "where to write what was measured, in Markdown")
	plotsFlag   = flag.String("plots", "", "where to write what is to be drawn, in JSON")

	program string // path of the confsyncd that is measured
	trees   Trees  // that figures share
)

func TestMain(m *testing.M) {
	if order := os.Getenv(crewEnv); order != "" {
		if err := serveCrew(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "confsyncd-bench-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // It is temporary.
	if *etcdFlag, err = filepath.Abs(*etcdFlag); err == nil {
		program, err = filepath.Abs(*programFlag)
	}
	if *programFlag == "" {
		program = filepath.Join(dir, "confsyncd")
		var out []byte
		build := exec.Command("go", "build", "-trimpath", "-tags", "lean grpcnotrace nethttpomithttp2", "-ldflags", "-s -w", "-o", program, "../../cmd/confsyncd")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err = build.CombinedOutput()
		fmt.Fprintf(os.Stderr, "%s", out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build confsyncd:", err)
		return 1
	}
	trees.dir = filepath.Join(dir, "trees")
	code := m.Run()
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
