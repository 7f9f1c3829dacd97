package rollout

import (
	"fmt"
	"slices"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
)

// Host is what is known of a host.
type Host struct {
	ID      string
	Labels  map[string]string
	Targets []codec.HostTarget
	// Trouble says why what the host says does not count: that it is down, or that two
	// processes go by its id. Empty if it does.
	Trouble string
}

// verdict is how a host stands to a generation.
type verdict int

const (
	// pending: it may yet come to it.
	pending verdict = iota
	// done: it has it, and is well.
	done
	// failed: it refuses it, or is not well with it.
	failed
)

// follows reports whether a target of the host is on a channel.
func (h Host) follows(channel string) bool {
	return slices.ContainsFunc(h.Targets, func(t codec.HostTarget) bool { return t.Channel == channel })
}

// judge tells how the host's targets of a channel stand to a generation, and why if they are
// not done.
func (h Host) judge(channel string, generation uint64) (verdict, string) {
	worst, why := done, ""
	for _, t := range h.Targets {
		if t.Channel != channel {
			continue
		}
		v, reason := judgeTarget(t, generation)
		if v == failed {
			return failed, reason
		}
		if v == pending && worst == done {
			worst, why = pending, reason
		}
	}
	if h.Trouble != "" {
		return pending, h.Trouble
	}
	return worst, why
}

func judgeTarget(t codec.HostTarget, generation uint64) (verdict, string) {
	hook := t.Hook
	switch {
	case t.Quarantined == generation:
		reason := "it refused the generation"
		if hook != nil && hook.Generation == generation && !hook.OK {
			reason = fmt.Sprintf("its %s failed", hook.Name)
		}
		return failed, reason
	case hook != nil && hook.Generation == generation && !hook.OK:
		return failed, fmt.Sprintf("its %s failed", hook.Name)
	case t.Applied < generation:
		return pending, fmt.Sprintf("it is at generation %d, %s", t.Applied, t.State)
	case t.Reloaded < generation:
		return pending, fmt.Sprintf("it has not reloaded generation %d yet", generation)
	}
	return done, ""
}

// share returns the selector of a stage: of the hosts that the label and channel take, no
// fewer than the stage's percent of them. Where there are few, their stable numbers may all
// lie above it.
func share(stage codec.RolloutStage, channel string, tenant diff.TenantID, hosts []Host) codec.Selector {
	s := codec.Selector{Label: stage.Label, Parts: stage.Percent * codec.AllParts / 100}
	var numbers []uint32
	for _, h := range hosts {
		if h.follows(channel) && s.Has(h.Labels) {
			numbers = append(numbers, codec.Share(tenant, h.ID))
		}
	}
	slices.Sort(numbers)
	if want := (len(numbers)*int(stage.Percent) + 99) / 100; want > 0 {
		s.Parts = max(s.Parts, numbers[want-1]+1)
	}
	return s
}
