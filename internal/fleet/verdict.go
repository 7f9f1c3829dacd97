package fleet

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/confsyncd/confsyncd/internal/codec"
)

// Verdict is how a host stands to what it is to have.
type Verdict int

// What a verdict can be.
const (
	// Pending: it may yet come to it.
	Pending Verdict = iota
	// Done: it has applied it, whoever uses it was told, and it is well.
	Done
	// Failed: it refuses it, or is not well with it.
	Failed
)

// Labeled reports whether a host has a label, "key=value"; the empty one have all.
func (h Host) Labeled(label string) bool { return codec.Selector{Label: label}.Has(h.Report.Labels) }

// Follows reports whether a target of the host is on a channel.
func (h Host) Follows(channel string) bool {
	return slices.ContainsFunc(h.Report.Targets, func(t codec.HostTarget) bool { return cmp.Or(t.Channel, codec.MainChannel) == channel })
}

// Wanted tells which generation a target is to have; 0 is none: it does not count.
type Wanted func(codec.HostTarget) uint64

// At wants a generation of the targets on a channel; the empty channel is all of them.
func At(channel string, generation uint64) Wanted {
	return func(t codec.HostTarget) uint64 {
		if channel != "" && cmp.Or(t.Channel, codec.MainChannel) != channel {
			return 0
		}
		return generation
	}
}

// Current wants of the host's targets what they are to follow under a head.
func Current(head codec.Head, h Host) Wanted {
	return func(t codec.HostTarget) uint64 {
		at, _ := head.Follow(cmp.Or(t.Channel, codec.MainChannel), h.ID, h.Report.Labels)
		return at.Generation
	}
}

// Judge tells how the host stands to what is wanted of its targets, and why if it is not
// done. A host that is down, or two, is never done; one of which nothing is wanted is.
func (h Host) Judge(want Wanted) (Verdict, string) {
	if h.Err != nil {
		return Pending, h.Err.Error()
	}
	worst, why := Done, ""
	for _, t := range h.Report.Targets {
		generation := want(t)
		if generation == 0 {
			continue
		}
		v, reason := judge(t, generation)
		if v == Failed {
			return Failed, reason
		}
		if v == Pending && worst == Done {
			worst, why = Pending, reason
		}
	}
	switch h.Life {
	case Down:
		return Pending, "down"
	case Duplicate:
		return Pending, fmt.Sprintf("%d processes go by its id: give them different ones", len(h.Lives))
	case Up:
	}
	return worst, why
}

// Refuses reports whether one of the host's targets has refused what is wanted of it, which
// it does not try again unless an operator says so. Only a host that is up, and one, is believed.
func (h Host) Refuses(want Wanted) bool {
	return h.Life == Up && slices.ContainsFunc(h.Report.Targets, func(t codec.HostTarget) bool {
		generation := want(t)
		return generation > 0 && concerns(t, t.Quarantined, generation)
	})
}

// concerns reports whether what became of one generation tells how a target stands to another:
// not if it has that, and is well with it, and the one is newer.
func concerns(t codec.HostTarget, one, generation uint64) bool {
	return one >= generation && !(t.Applied >= generation && t.Reloaded >= generation && t.Applied < one)
}

func judge(t codec.HostTarget, generation uint64) (Verdict, string) {
	hook := t.Hook
	switch {
	case hook != nil && !hook.OK && concerns(t, hook.Generation, generation):
		return Failed, fmt.Sprintf("its %s failed", hook.Name)
	case concerns(t, t.Quarantined, generation):
		return Failed, fmt.Sprintf("it refused generation %d", t.Quarantined)
	case t.Applied < generation && t.Seen < generation && t.Applied == t.Seen:
		return Pending, fmt.Sprintf("at generation %d, and has told of no newer one yet", t.Applied)
	case t.Applied < generation && t.Reason != "":
		return Pending, fmt.Sprintf("at generation %d, %s: %s", t.Applied, t.State, t.Reason)
	case t.Applied < generation:
		return Pending, fmt.Sprintf("at generation %d, %s", t.Applied, t.State)
	case t.Reloaded < generation:
		return Pending, fmt.Sprintf("has not reloaded generation %d yet", generation)
	}
	return Done, ""
}
