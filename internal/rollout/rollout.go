package rollout

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/fleet"
	"github.com/confsyncd/confsyncd/internal/logging"
	"github.com/confsyncd/confsyncd/internal/store"
)

const (
	// every is how often the hosts are looked at while something is rolled out, and
	// idle how often the state is, besides the head's changes, while nothing is.
	every = time.Second
	idle  = 15 * time.Second
)

// Plan is how what is published comes to the hosts of a channel.
type Plan struct {
	Channel string
	// Stages come one after the other. All hosts are the last one, and need not be named.
	Stages []codec.RolloutStage
	Policy codec.RolloutPolicy
}

// stages returns all stages, the last one included.
func (p Plan) stages() []codec.RolloutStage {
	return append(slices.Clone(p.Stages), codec.RolloutStage{})
}

// Channels returns those that only the rollout moves.
func (p Plan) Channels() []string {
	names := []string{p.Channel}
	for _, s := range p.Stages {
		if s.Channel != "" {
			names = append(names, s.Channel)
		}
	}
	return names
}

// Options say what is rolled out, and by whom.
type Options struct {
	Tenant string
	Store  *store.Store
	Plan   Plan
	// By names the publisher in the state.
	By string
	// Hosts returns what is known of the tenant's hosts.
	Hosts func(context.Context) ([]fleet.Host, error)
	// Leads reports whether the publisher is the one that publishes: else nothing is done.
	Leads func() bool
	// Rollback commits the tree of a generation as a new one on top of the parent, takes all
	// channels along that are at that generation or beyond, and returns the new one, or 0 if the
	// trees are equal. Nil: what was halted stays as it is.
	Rollback func(ctx context.Context, generation, parent uint64, message string) (uint64, error)
	Log      hclog.Logger
}

// Rollout rolls out what is published. It is for one call of Run.
type Rollout struct {
	options Options
	log     hclog.Logger
	trying  *logging.Episode
	now     func() time.Time
	every   time.Duration
}

// New returns a rollout. It does not touch etcd.
func New(o Options) *Rollout {
	log := o.Log.With("tenant", o.Tenant)
	return &Rollout{options: o, log: log, trying: logging.NewEpisode(log, "rolling out"), now: time.Now, every: every}
}

// Run rolls out until ctx ends, then returns nil. etcd being away does not end it.
func (r *Rollout) Run(ctx context.Context) error {
	feed := store.NewFeed()
	followed := make(chan error, 1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { followed <- r.options.Store.Follow(ctx, feed) }()
	r.loop(ctx, feed)
	stop()
	return <-followed
}

func (r *Rollout) loop(ctx context.Context, feed *store.Feed) {
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-feed.Changed():
			feed.Take()
		case <-again.C:
		}
		wait := r.every
		if r.options.Leads() {
			wait = r.step(ctx)
		}
		again.Stop()
		again.Reset(wait*9/10 + rand.N(wait/5+1))
	}
}

// step makes one step, and returns when to make the next.
func (r *Rollout) step(ctx context.Context) time.Duration {
	over, err := r.once(ctx)
	switch {
	case err == nil:
		r.trying.Ended()
	case ctx.Err() != nil, errors.Is(err, store.ErrLostRace), errors.Is(err, store.ErrNoHead):
		return r.every
	default:
		r.trying.Failed(err)
		return 5 * r.every
	}
	if over {
		return idle
	}
	return r.every
}

// once looks at everything and does what is to be done now. over tells that nothing is under
// way.
func (r *Rollout) once(ctx context.Context) (over bool, err error) {
	o := r.options
	view, state, err := o.Store.Rollout(ctx)
	switch {
	case err != nil:
		return false, err
	case view.Err != nil:
		return false, view.Err
	case view.Head == nil:
		return true, nil
	case state.Err != nil:
		return false, fmt.Errorf("%w; \"confsyncd rollout abort\" writes it anew", state.Err)
	}
	var before *codec.Rollout
	if state.Known {
		before = &state.Rollout
	}
	var hosts []fleet.Host
	if before == nil || before.State == codec.RolloutRunning || view.Head.Position.Generation > before.Generation {
		if hosts, err = o.Hosts(ctx); err != nil {
			return false, fmt.Errorf("hosts: %w", err)
		}
	}
	now := r.now().UTC().Truncate(time.Millisecond)
	head, next, err := o.next(now, view.Head.Head, before, hosts)
	if err != nil {
		return false, err
	}
	if next == nil || reflect.DeepEqual(before, next) {
		if !reflect.DeepEqual(head, view.Head.Head) {
			_, err = o.Store.MoveChannel(ctx, o.Plan.Channel, head.Position)
			return false, err
		}
		return next == nil || next.Over(), r.takeBack(ctx, view.Head.Head, next)
	}
	next.By, next.Time = o.By, now
	if err := o.Store.SetRollout(ctx, view, state, head, *next); err != nil {
		return false, err
	}
	r.tell(before, *next)
	return next.Over(), nil
}

// takeBack brings the old content back after a rollout was halted, if that is its policy.
func (r *Rollout) takeBack(ctx context.Context, head codec.Head, state *codec.Rollout) error {
	o := r.options
	if state == nil || state.State != codec.RolloutHalted || !state.Policy.Rollback || o.Rollback == nil || head.Position.Generation != state.Generation {
		return nil
	}
	message := fmt.Sprintf("back to generation %d: the rollout of %d was halted: %s", state.From, state.Generation, state.Reason)
	to, err := o.Rollback(ctx, state.From, head.Position.Generation, strings.ToValidUTF8(message[:min(len(message), 500)], ""))
	switch {
	case err != nil:
		return fmt.Errorf("roll back to generation %d: %w", state.From, err)
	case to == 0:
		return fmt.Errorf("roll back to generation %d: it has the same content as %d: it is the hosts that are not well", state.From, state.Generation)
	}
	r.log.Warn("rolled back", "generation", to, "from", state.Generation, "to", state.From)
	return nil // The next step sees where the channel is.
}

// tell logs what is new.
func (r *Rollout) tell(before *codec.Rollout, now codec.Rollout) {
	args := []any{"generation", now.Generation, "channel", now.Channel, "stage", Describe(now.Stages[now.Stage])}
	switch fresh := before == nil || before.Generation != now.Generation || before.State != now.State; {
	case now.State == codec.RolloutHalted && fresh:
		r.log.Error("rollout halted", append(args, "reason", now.Reason)...)
	case now.State == codec.RolloutRunning && (fresh || before.Stage != now.Stage):
		r.log.Info("rollout begins a stage", args...)
	case fresh:
		r.log.Info("rollout is over", append(args, "state", now.State, "reason", now.Reason)...)
	}
}
