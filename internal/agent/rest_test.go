package agent

import (
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestAgentTellsOnceThatItRests(t *testing.T) {
	rested := 0
	a := New(Options{Dir: t.TempDir(), Log: hclog.NewNullLogger(), Rested: func() { rested++ }})
	a.rest()
	if rested != 0 {
		t.Fatal("it rests although it has done nothing")
	}
	a.resting = restBeats
	for range restBeats - 1 {
		a.rest()
	}
	if rested != 0 {
		t.Fatal("it rests before what follows on an apply")
	}
	for range 3 {
		a.rest()
	}
	if rested != 1 {
		t.Errorf("told %d times, want once", rested)
	}
}
