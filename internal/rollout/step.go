package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/fleet"
	"github.com/confsyncd/confsyncd/internal/store"
)

// shown is how many hosts a reason names.
const shown = 5

// next returns what becomes of the rollout, and of the head, now. The state is nil if there
// never was one. It returns the state as it is if nothing is to be done.
func (o Options) next(now time.Time, head codec.Head, state *codec.Rollout, hosts []fleet.Host) (codec.Head, *codec.Rollout, error) {
	at, ok := head.On(o.Plan.Channel)
	if !ok {
		at = diff.Position{}
	}
	newer := head.Position.Generation > at.Generation && (state == nil || state.Channel != o.Plan.Channel || state.Generation < head.Position.Generation)
	switch {
	case newer && state != nil && state.State == codec.RolloutPaused && state.Channel == o.Plan.Channel:
		return head, state, nil // What is newer waits too.
	case newer:
		return o.begin(now, head, at, hosts)
	case state == nil || state.Over():
		return head, state, nil
	}
	r := *state
	last := r.Stage == len(r.Stages)-1
	if at.Generation > r.Generation || at.Generation == r.Generation && !last {
		reason := fmt.Sprintf("channel %s has come to generation %d", r.Channel, at.Generation)
		if r.State == codec.RolloutHalted && r.Policy.Rollback {
			r.RolledBack = at.Generation
			return head, ended(r, codec.RolloutRolledBack, r.Reason+"; "+reason), nil
		}
		return head, ended(r, codec.RolloutSuperseded, reason), nil
	}
	if r.State != codec.RolloutRunning {
		return head, state, nil
	}
	return o.watch(now, head, r, hosts)
}

// begin starts a rollout of the head, in place of any other. Those hosts that are ahead
// already get it with the first stage that has them.
func (o Options) begin(now time.Time, head codec.Head, at diff.Position, hosts []fleet.Host) (codec.Head, *codec.Rollout, error) {
	if at.IsZero() {
		moved, err := store.Moved(head, o.Plan.Channel, head.Position) // There is nobody to protect yet.
		return moved, nil, err
	}
	r := codec.Rollout{
		Channel: o.Plan.Channel, Generation: head.Position.Generation, Commit: head.Position.Commit.String(), From: at.Generation,
		State: codec.RolloutRunning, Stages: o.Plan.stages(), Policy: o.Plan.Policy, Began: now, StageBegan: now,
	}
	head = head.WithChannels(head.AllChannels(), nil)
	return enter(head, r, hosts)
}

// enter makes the hosts of the rollout's stage follow its generation, which is the head's:
// anything newer would have taken its place.
func enter(head codec.Head, r codec.Rollout, hosts []fleet.Host) (codec.Head, *codec.Rollout, error) {
	stage, to := r.Stages[r.Stage], head.Position
	var err error
	switch {
	case stage.Channel != "":
		head, err = store.Moved(head, stage.Channel, to)
	case stage.Percent == 0:
		head, err = store.Moved(head, r.Channel, to)
	default:
		ahead := codec.Ahead{Channel: r.Channel, Generation: to.Generation, Commit: to.Commit}
		if before := head.Ahead; before != nil && before.Generation == to.Generation && before.Channel == r.Channel {
			ahead.Hosts = slices.Clone(before.Hosts)
		}
		ahead.Hosts = widened(ahead.Hosts, share(stage, r.Channel, to.Tenant, hosts))
		head = head.WithChannels(head.AllChannels(), &ahead)
	}
	return head, &r, err
}

// widened returns the selectors together with one more.
func widened(list []codec.Selector, s codec.Selector) []codec.Selector {
	for i := range list {
		if list[i].Label == s.Label {
			list[i].Parts = max(list[i].Parts, s.Parts)
			return list
		}
	}
	return append(list, s)
}

// watch looks whether the hosts that have, or are to have, the generation are done and well.
func (o Options) watch(now time.Time, head codec.Head, r codec.Rollout, hosts []fleet.Host) (codec.Head, *codec.Rollout, error) {
	found := look(head, r, hosts)
	switch {
	case len(found.failed) > r.Policy.MaxFailures:
		return head, ended(r, codec.RolloutHalted, "failed on "+some(found.failed)), nil
	case len(found.pending) > 0 && now.Sub(r.StageBegan) >= r.Policy.StageTimeout:
		return head, ended(r, codec.RolloutHalted, fmt.Sprintf("not done within %v on %s", r.Policy.StageTimeout, some(found.pending))), nil
	case len(found.pending) > 0:
		r.Healthy, r.Reason = time.Time{}, "waits for "+some(found.pending)
		return head, &r, nil
	case r.Healthy.IsZero():
		r.Healthy = now
	}
	if now.Sub(r.Healthy) < r.Policy.Bake {
		r.Reason = fmt.Sprintf("all %d hosts are well; they have to stay so until %s", found.done, r.Healthy.Add(r.Policy.Bake).UTC().Format(time.RFC3339))
		return head, &r, nil
	}
	if r.Stage == len(r.Stages)-1 {
		return head, ended(r, codec.RolloutDone, ""), nil
	}
	r.Stage, r.StageBegan, r.Healthy, r.Reason = r.Stage+1, now, time.Time{}, ""
	return enter(head, r, hosts)
}

// ended returns the rollout in a state in which nothing more is done.
func ended(r codec.Rollout, state, reason string) *codec.Rollout {
	r.State, r.Reason, r.Healthy = state, reason, time.Time{}
	return &r
}

// found is how the hosts stand that have, or are to have, a generation.
type found struct {
	done            int
	pending, failed []string // hosts, and why
}

// look judges the hosts of the stages so far.
func look(head codec.Head, r codec.Rollout, hosts []fleet.Host) found {
	var f found
	ofStage := 0 // hosts of the one under way
	for _, h := range hosts {
		judged, worst, why := false, fleet.Done, ""
		for i, stage := range r.Stages[:r.Stage+1] {
			if !has(head, r, stage, h) {
				continue
			}
			if i == r.Stage {
				ofStage++
			}
			v, reason := h.Judge(fleet.At(cmp.Or(stage.Channel, r.Channel), r.Generation))
			if judged = true; v == fleet.Failed || v == fleet.Pending && worst == fleet.Done {
				worst, why = v, reason
			}
		}
		switch {
		case !judged:
		case worst == fleet.Failed:
			f.failed = append(f.failed, h.ID+" ("+why+")")
		case worst == fleet.Pending:
			f.pending = append(f.pending, h.ID+" ("+why+")")
		default:
			f.done++
		}
	}
	if ofStage == 0 && r.Stage < len(r.Stages)-1 {
		f.pending = append(f.pending, "a host of stage "+Describe(r.Stages[r.Stage])+" (none has reported)")
	}
	slices.Sort(f.failed)
	slices.Sort(f.pending)
	return f
}

// has reports whether a stage has a host.
func has(head codec.Head, r codec.Rollout, stage codec.RolloutStage, h fleet.Host) bool {
	switch {
	case stage.Channel != "":
		return h.Follows(stage.Channel)
	case stage.Percent == 0:
		return h.Follows(r.Channel)
	}
	return h.Follows(r.Channel) && head.Ahead != nil && codec.Selector{Label: stage.Label}.Has(h.Report.Labels) &&
		head.Ahead.Selects(head.Position.Tenant, h.ID, h.Report.Labels)
}

// Describe names a stage.
func Describe(s codec.RolloutStage) string {
	switch {
	case s.Channel != "":
		return "channel " + s.Channel
	case s.Percent == 0:
		return "all"
	case s.Label == "":
		return fmt.Sprintf("%d%%", s.Percent)
	}
	return fmt.Sprintf("%d%% of %s", s.Percent, s.Label)
}

// some names the first of a list, and says how many there are.
func some(list []string) string {
	text := strings.Join(list[:min(len(list), shown)], ", ")
	if more := len(list) - shown; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
