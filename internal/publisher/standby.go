package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/election"
	"github.com/confsyncd/confsyncd/internal/scan"
	"github.com/confsyncd/confsyncd/internal/store"
	"github.com/confsyncd/confsyncd/internal/watcher"
)

// unseenCommits is how many commits of another leader a publisher may lack when it founds
// the history anew: etcd had them and was taken back before they came here. Agents follow
// only a founding above what they have.
const unseenCommits = 1000

// lockPoll is how often a publisher looks whether another process of this host still has
// its state.
const lockPoll = 200 * time.Millisecond

// lockPatience is how long a publisher without an election waits for that: a push has the
// state too, but not for long.
const lockPatience = 10 * time.Second

// errStandingBy says that another publisher is the one that publishes.
var errStandingBy = errors.New("standing by")

// newElection returns the publisher's part in its tenant's election.
func (p *Publisher) newElection() *election.Election {
	o := p.options
	return election.New(election.Options{
		Store: o.Store, TTL: o.Standby, Log: o.Log.With("tenant", o.Tenant),
		Who: codec.Candidate{Publisher: o.Name, Instance: p.memory.instance(), Host: o.Host},
	})
}

// follow brings what is remembered up to the view's head, also one that another publisher
// of the election has made: so that whoever leads next knows what the last leader knew.
// What an etcd that was taken back has does not follow, and changes nothing.
func (p *Publisher) follow(ctx context.Context) error {
	if p.election == nil || p.view.Err != nil || p.view.Head == nil {
		return nil
	}
	head, known := p.view.Head, p.memory.have()
	own := head.Instance == p.memory.instance()
	switch {
	case head.Position == known.Position:
		if own {
			p.lineage.equal() // what differs came since
		}
		return nil
	case !known.Position.IsZero() && head.Position.Tenant != known.Position.Tenant:
		if !own || head.Position.Generation <= known.Position.Generation {
			p.lineage.reset()
			return nil
		}
		known = store.Have{} // a push --found led it on
	}
	v, base, ok, err := p.walk(ctx, known, p.view)
	if errors.Is(err, store.ErrRewound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !ok {
		// Of what nobody of the election committed, nobody's directory need have anything.
		p.lineage.reset()
		base = v.Tree
	}
	return p.memory.remember(head.Position, v.Tree, base)
}

// awaitLock waits until no other process of this host has the publisher's state: that one
// is the live one, or stands by itself. Without an election it does not wait for that one's
// end, only for as long as a push takes, and then returns ErrRunning. It returns ctx's error
// if that ends first.
func (p *Publisher) awaitLock(ctx context.Context) (*memory, error) {
	o, until := p.options, time.Now().Add(p.lockPatience)
	state, word, reason := "standby", "standing by", "another process publishes with this state directory: this one waits for its end"
	beat := o.Beat
	if o.Standby == 0 {
		state, word, reason = "waiting", "waiting", "another process, perhaps a push, has the state of this directory"
		beat = func() {} // It has not begun.
	}
	for told := false; ; told = true {
		memory, err := openMemory(o)
		if err != nil || !memory.readOnly() {
			return memory, err
		}
		memory.logClose(o.Log)
		if !told {
			o.Log.Info(word, "tenant", o.Tenant, "path", o.Dir, "reason", reason)
		}
		for locked := true; locked; {
			if o.Standby == 0 && !time.Now().Before(until) {
				return nil, ErrRunning
			}
			beat()
			if o.Status != nil {
				o.Status(Status{State: state, Reason: reason})
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(lockPoll):
			}
			if locked, err = memoryLocked(o); err != nil {
				return nil, err
			}
		}
	}
}

// candidate is whether a daemon stands for election.
type candidate struct {
	able    time.Time // when it was last seen that it may publish
	leading bool      // it led when it was last asked
}

// elected asks whether the publisher leads. Once it does, everything is looked at anew
// before anything is published.
func (d *daemon) elected() {
	if d.election == nil {
		return
	}
	now := d.election.State()
	d.seat = now.Seat
	if now.Leads() == d.candidate.leading {
		return
	}
	d.candidate.leading = now.Leads()
	d.note(watcher.Dirty{All: true})
	if now.Leads() {
		d.options.Log.Info("leads: publishes from now on", "tenant", d.options.Tenant, "path", d.options.Dir)
	} else {
		d.options.Log.Warn("no longer leads: publishes nothing", "tenant", d.options.Tenant, "path", d.options.Dir)
	}
}

// candidacy makes the publisher stand for election while it may publish, so that none
// leads that must not. It returns when to ask again: a directory lags behind each commit
// for a moment, and the seat is given up only when that lasts.
func (d *daemon) candidacy(out outcome, err error) time.Duration {
	if d.election == nil || !out.judged && !errors.Is(err, scan.ErrRootMissing) {
		return never
	}
	if out.judged && out.refused == nil {
		d.candidate.able = time.Now()
		d.election.Stand(true)
		return never
	}
	left := d.options.Standby - time.Since(d.candidate.able)
	if left <= 0 || d.registered != nil && d.registered.Deleted() != nil {
		d.election.Stand(false)
		return never
	}
	return left
}

// standBy notes that another leads, and returns when to look again.
func (d *daemon) standBy(out outcome) time.Duration {
	leader := d.election.State().Leader
	switch {
	case out.refused != nil:
		d.diary.state("holding", "stands by, and must not lead: "+out.refused.Error())
	case leader == codec.Candidate{}:
		d.diary.state("standby", "nobody leads yet")
	default:
		d.diary.state("standby", fmt.Sprintf("%q leads, on host %q (instance %s)", leader.Publisher, leader.Host, leader.Instance))
	}
	return heldWait(out.held)
}
