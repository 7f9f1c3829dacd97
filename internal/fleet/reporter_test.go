package fleet_test

import (
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/fleet"
)

func TestTargetThatWasLeftIsNotToldOf(t *testing.T) {
	r := fleet.NewReporter(fleet.Options{Log: hclog.NewNullLogger()})
	r.Join("/a")
	r.Join("/b")
	r.Set(codec.HostTarget{Dir: "/a"})
	r.Set(codec.HostTarget{Dir: "/b"})
	if r.Leave("/a") {
		t.Error("nobody attends, although one does")
	}
	r.Set(codec.HostTarget{Dir: "/a", State: "in_sync"}) // Its agent says a last word.
	if h := r.Host(); len(h.Targets) != 1 || h.Targets[0].Dir != "/b" {
		t.Errorf("it tells of %+v", h.Targets)
	}
	r.Join("/a")
	r.Join("/a") // Before the one that was reloaded has ended.
	r.Leave("/a")
	r.Set(codec.HostTarget{Dir: "/a"})
	if h := r.Host(); len(h.Targets) != 2 {
		t.Errorf("once it is back it tells of %+v", h.Targets)
	}
}

func TestManyLongReasonsFitIntoAReport(t *testing.T) {
	r := fleet.NewReporter(fleet.Options{Log: hclog.NewNullLogger()})
	long := strings.Repeat("ä/very/long/path differs, ", 1000)
	for i := range 40 {
		r.Set(codec.HostTarget{Dir: "/srv/" + strings.Repeat("x", i), State: "holding", Reason: long, Hook: &codec.HookOutcome{Name: "check", Reason: long}})
	}
	if _, err := codec.EncodeHost(r.Host()); err != nil {
		t.Error(err)
	}
}
