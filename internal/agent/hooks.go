package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/hashicorp/go-hclog"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/hook"
	"github.com/confsyncd/confsyncd/internal/install"
)

// ErrQuarantined is returned, together with ErrRefused, for a generation that a hook has
// refused here: it is not tried again until there is a newer one, or an operator says so.
var ErrQuarantined = errors.New("quarantined")

// healthAgain is how soon a health hook that failed runs again.
const healthAgain = 500 * time.Millisecond

// Hooks are the programs by which a generation is tried out. Those that are not set do not
// run.
type Hooks struct {
	// Check looks at a copy of all that the target is to hold, before anything goes live.
	Check hook.Hook
	// Reload runs once after each apply or repair that changed a path, in the target, that
	// one of ReloadPaths matches: not more often than MinInterval, and up to Splay later.
	Reload             hook.Hook
	ReloadPaths        []string
	MinInterval, Splay time.Duration
	// Health runs after that, again until it ends well or its timeout is up.
	Health hook.Hook
	// Keep leaves the files that Reload or Health failed with. Otherwise the previous ones
	// are put back.
	Keep bool
}

// prover tries generations out: it runs the hooks of a target. It is for one goroutine.
type prover struct {
	hooks  Hooks
	tenant string
	dir    string
	log    hclog.Logger
	beat   func()
	target *install.Target
	// hooked is told of each run that was not interrupted; nil tells nobody.
	hooked func(name string, ok bool)
	// saying is told what is waited for; nil tells nobody.
	saying func(reason string)
	// last is how the last hook ended.
	last     *codec.HookOutcome
	reloaded time.Time // when the last reload began
	due      time.Time // when the next one is to begin; zero if that was not decided yet
	hasty    bool      // neither MinInterval nor Splay is waited for
}

func newProver(o Options) *prover {
	p := &prover{hooks: o.Hooks, hooked: o.Hooked, tenant: o.Tenant, dir: o.Dir, log: o.Log.With("tenant", o.Tenant, "path", o.Dir), beat: o.Beat}
	if p.beat == nil {
		p.beat = func() {}
	}
	return p
}

// trying is what the target does with what it applies.
func (p *prover) trying() install.Trying {
	t := install.Trying{Trial: p.hooks.Reload.IsSet() || p.hooks.Health.IsSet(), Undo: !p.hooks.Keep}
	if p.hooks.Check.IsSet() {
		t.Check = p.check
	}
	return t
}

// take takes the target that was opened.
func (p *prover) take(t *install.Target) {
	p.target = t
	if r := t.Proof().Refused; r != nil && p.last == nil {
		p.last = &codec.HookOutcome{Name: r.Hook, Generation: r.Generation, Reason: r.Reason, Time: r.Time}
	}
}

// refusal is the error of a check that refused a generation.
type refusal struct{ cause error }

func (r refusal) Error() string { return r.cause.Error() }
func (r refusal) Unwrap() error { return r.cause }

// check is that of install.Trying.
func (p *prover) check(ctx context.Context, candidate string, to diff.Position, from install.Version, changed []string) error {
	err := p.run(ctx, hook.Check, p.hooks.Check, hook.Subject{
		Generation: to.Generation, Previous: from.Generation, Candidate: candidate, Changed: changed,
	})
	p.note(hook.Check, to.Generation, err)
	if errors.Is(err, hook.ErrFailed) {
		return refusal{err}
	}
	return err
}

// run runs a hook.
func (p *prover) run(ctx context.Context, name string, h hook.Hook, s hook.Subject) error {
	s.Tenant, s.Target = p.tenant, p.dir
	p.say(fmt.Sprintf("%s of generation %d runs", name, s.Generation))
	err := hook.Runner{Scratch: p.target.Scratch(), Beat: p.beat, Log: p.log}.Run(ctx, name, h, s)
	if p.hooked != nil && (err == nil || errors.Is(err, hook.ErrFailed)) {
		p.hooked(name, err == nil)
	}
	return err
}

// note notes how a hook ended, if it did.
func (p *prover) note(name string, generation uint64, err error) {
	if errors.Is(err, hook.ErrInterrupted) {
		return
	}
	p.last = &codec.HookOutcome{Name: name, Generation: generation, OK: err == nil, Time: time.Now().UTC()}
	if err != nil {
		p.last.Reason = err.Error()
	}
}

func (p *prover) say(reason string) {
	if p.saying != nil {
		p.saying(reason)
	}
}

// refused returns why a generation is not tried again, nil if it is none of those.
func (p *prover) refused(to diff.Position) error {
	r := p.target.Proof().Refused
	if r == nil || !r.Is(to) {
		return nil
	}
	content := p.target.Content()
	became := fmt.Sprintf("the files of generation %d stay", content.Generation)
	switch {
	case r.Hook == hook.Check && content.Generation == 0:
		became = "nothing is installed"
	case r.Hook == hook.Check:
	case r.Version == content:
		became = "its files stay"
	default:
		became = fmt.Sprintf("reverted to generation %d", content.Generation)
	}
	return fmt.Errorf("%w: generation %d is %w on this host: %s; %s; publish a newer generation, or \"confsyncd retry %s\" tries it again",
		ErrRefused, r.Generation, ErrQuarantined, r.Reason, became, p.dir)
}

// refuse notes durably that the check refused a generation.
func (p *prover) refuse(to diff.Position, cause error) error {
	p.log.Error("quarantined: files are kept", "generation", to.Generation, "reason", cause)
	err := p.target.Refuse(install.Refusal{Version: install.VersionOf(to), Hook: hook.Check, Reason: cause.Error(), Time: time.Now().UTC()}, false, false)
	if err != nil {
		return err
	}
	return p.refused(to)
}

// settled reports whether nothing is on trial.
func (p *prover) settled() bool { return p.target.OnTrial() == nil }

// prove brings the trial in hand forward as far as it goes without waiting: it runs reload
// and health, and takes back what fails. others provides contents that were not kept here.
// It returns when to go on.
func (p *prover) prove(ctx context.Context, others func(install.Version) install.Contents) (time.Duration, error) {
	t := p.target
	trial := t.OnTrial()
	switch {
	case t.Interrupted():
		return never, nil // That comes first, and is tried again.
	case t.Proof().Trial == nil:
		return never, nil
	case trial == nil: // Nothing came of it.
		return never, t.EndTrial()
	case trial.Failed:
		return never, nil
	case trial.Reverting:
		return never, p.revert(ctx, *trial, others)
	case !p.concerns(*trial):
		return never, t.Proved()
	}
	if wait := p.wait(time.Now()); wait > 0 {
		p.say(fmt.Sprintf("reload is due in %s", wait.Round(time.Second)))
		return wait, nil
	}
	name, err := p.reload(ctx, hook.Subject{
		Generation: t.Content().Generation, Previous: trial.From.Generation, Changed: trial.Paths(),
	})
	switch {
	case err == nil:
		return never, t.Proved()
	case !errors.Is(err, hook.ErrFailed):
		return never, err
	}
	return never, p.failed(ctx, *trial, name, err, others)
}

// concerns reports whether anybody is to be told of what was changed.
func (p *prover) concerns(t install.Trial) bool {
	if len(t.Changed) == 0 {
		return true
	}
	for _, path := range t.Paths() {
		for _, pattern := range p.hooks.ReloadPaths {
			// Patterns were checked with the configuration.
			if ok, err := doublestar.Match(pattern, path); ok && err == nil {
				return true
			}
		}
	}
	return len(p.hooks.ReloadPaths) == 0
}

// wait returns how long the next reload is to be waited for.
func (p *prover) wait(now time.Time) time.Duration {
	if p.hasty || !p.hooks.Reload.IsSet() {
		return 0
	}
	if p.due.IsZero() {
		p.due = now
		if earliest := p.reloaded.Add(p.hooks.MinInterval); earliest.After(now) {
			p.due = earliest
		}
		p.due = p.due.Add(rand.N(p.hooks.Splay + 1))
	}
	return p.due.Sub(now)
}

// reload runs reload, then health. It returns which of them failed.
func (p *prover) reload(ctx context.Context, s hook.Subject) (string, error) {
	if p.hooks.Reload.IsSet() {
		p.reloaded, p.due = time.Now(), time.Time{}
		err := p.run(ctx, hook.Reload, p.hooks.Reload, s)
		p.note(hook.Reload, s.Generation, err)
		if err != nil {
			return hook.Reload, err
		}
		p.log.Info("reloaded", "generation", s.Generation, "paths", len(s.Changed), "duration_ms", time.Since(p.reloaded).Milliseconds())
	}
	if !p.hooks.Health.IsSet() {
		return "", nil
	}
	err := p.health(ctx, s)
	p.note(hook.Health, s.Generation, err)
	return hook.Health, err
}

// health runs health until it ends well or its time is up.
func (p *prover) health(ctx context.Context, s hook.Subject) error {
	end := time.Now().Add(p.hooks.Health.Timeout)
	for {
		h := p.hooks.Health
		h.Timeout = time.Until(end)
		err := p.run(ctx, hook.Health, h, s)
		if !errors.Is(err, hook.ErrFailed) {
			return err
		}
		if time.Until(end) <= healthAgain {
			return fmt.Errorf("%w; it was not well within %s", err, p.hooks.Health.Timeout)
		}
		select {
		case <-time.After(healthAgain):
			p.beat()
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", hook.Health, hook.ErrInterrupted)
		}
	}
}

// failed notes durably that reload or health failed, and puts the previous files back if
// that is wanted.
func (p *prover) failed(ctx context.Context, trial install.Trial, name string, cause error, others func(install.Version) install.Contents) error {
	at := p.target.State().Position
	revert := !p.hooks.Keep && !trial.Final && len(trial.Undo) > 0
	p.log.Error("quarantined", "generation", at.Generation, "reason", cause, "revert", revert)
	r := install.Refusal{Version: install.VersionOf(at), Hook: name, Reason: cause.Error(), Time: time.Now().UTC()}
	if err := p.target.Refuse(r, true, revert); err != nil || !revert {
		return err
	}
	return p.revert(ctx, *p.target.Proof().Trial, others)
}

// revert puts the previous files back and has them reloaded. It goes on where an earlier
// attempt, or process, has ended.
func (p *prover) revert(ctx context.Context, trial install.Trial, others func(install.Version) install.Contents) error {
	begin := time.Now()
	at := p.target.State().Position.Generation
	p.say(fmt.Sprintf("generation %d is taken back", at))
	result, err := p.target.Revert(ctx, others(trial.From))
	if err != nil {
		return fmt.Errorf("revert generation %d: %w", at, err)
	}
	p.log.Warn("reverted", "generation", trial.From.Generation, "from", at, "created", result.Created, "changed", result.Changed,
		"deleted", result.Deleted, "kept", result.Kept, "duration_ms", time.Since(begin).Milliseconds())
	if p.hooks.Reload.IsSet() && p.concerns(trial) {
		p.reloaded, p.due = time.Now(), time.Time{}
		err := p.run(ctx, hook.Reload, p.hooks.Reload, hook.Subject{Generation: trial.From.Generation, Previous: at, Changed: trial.Paths()})
		switch {
		case errors.Is(err, hook.ErrFailed):
			p.log.Error("the reload of the previous files failed too", "generation", trial.From.Generation, "reason", err)
		case err != nil:
			return err
		}
	}
	return p.target.EndTrial()
}

// status adds what is known of generations that were tried out.
func (p *prover) status(s *Status) {
	s.Applied = p.target.Content().Generation
	s.Reloaded = s.Applied
	if trial := p.target.OnTrial(); trial != nil {
		s.Reloaded = trial.From.Generation
	}
	if r := p.target.Proof().Refused; r != nil {
		s.Quarantined = r.Generation
	}
	s.Hook = p.last
}
