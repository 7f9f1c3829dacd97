package watcher

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets many tests run at once: they wait for signals and for quiet, and
// compute nothing.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
