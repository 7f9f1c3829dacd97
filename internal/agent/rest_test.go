package agent

import (
	"testing"
	"time"

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

func TestAgentReadsAllAgainWhenTheLastReadingWasLongAgo(t *testing.T) {
	a := New(Options{Dir: t.TempDir(), Log: hclog.NewNullLogger()})
	if wait := a.readAgain(); wait > rereadSoon || a.dirty.deep {
		t.Errorf("without a target it waits %v", wait)
	}
	if err := a.openTarget(); err != nil {
		t.Fatal(err)
	}
	defer a.closeTarget()
	if wait := a.readAgain(); a.dirty.deep || wait < 50*time.Minute || wait > 66*time.Minute {
		t.Errorf("just read, it waits %v, deep: %v", wait, a.dirty.deep)
	}
	a.every.deep = time.Nanosecond
	if wait := a.readAgain(); !a.dirty.deep || wait > time.Second {
		t.Errorf("long after the last reading it waits %v, deep: %v", wait, a.dirty.deep)
	}
}
