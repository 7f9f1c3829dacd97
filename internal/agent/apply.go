package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/store"
)

var (
	// ErrRefused is returned when something waits for an operator. The error says what
	// for, and what to do about it.
	ErrRefused = errors.New("refused")
	// ErrNothing is returned while the tenant has no commit, and had none.
	ErrNothing = errors.New("nothing was published yet")
)

func refuse(cause error, remedy string) error {
	return fmt.Errorf("%w: %w; %s", ErrRefused, cause, remedy)
}

// applier applies versions to an open target.
type applier struct {
	options Options
	target  *install.Target
	prover  *prover
	// expect is told what the target is about to hold; nil tells nobody.
	expect func(diff.Tree)
	// refused is the version that install refused last, from the position refusedAt under
	// the head refusedUnder, so that looking again whether a file is still in the way asks nothing of etcd.
	refused      *store.Version
	refusedAt    diff.Position
	refusedUnder *store.Head
	burial       burial
}

// apply brings the target to the view's head. It returns nil if it is there already.
func (a *applier) apply(ctx context.Context, view store.View) (*Applied, error) {
	begin := time.Now()
	if err := a.quarantined(view); err != nil {
		return nil, err
	}
	version, err := a.resolve(ctx, view)
	if err != nil {
		return nil, err
	}
	before := a.target.State()
	plan, err := a.plan(version)
	if err != nil {
		return nil, err
	}
	a.refused = nil
	if a.expect != nil {
		a.expect(plan.Want)
	}
	result, err := a.target.Apply(ctx, plan, a.options.telling(version))
	if errors.As(err, &refusal{}) {
		return nil, a.prover.refuse(version.Position(), err)
	}
	if err = a.options.explain(err); errors.Is(err, ErrRefused) {
		a.refused, a.refusedAt, a.refusedUnder = version, a.target.State().Position, view.Head
	}
	if err != nil {
		return nil, err
	}
	if err := errors.Join(a.target.Unaccept(), a.pass()); err != nil {
		return nil, err
	}
	done := &Applied{Result: result, Position: version.Position(), From: before.Position.Generation, Duration: time.Since(begin)}
	if done.From > 0 {
		done.Since = version.Since
	}
	after := a.target.State()
	if before.Position == after.Position && before.Meta == after.Meta && result.Created+result.Changed+result.Deleted+result.Corrected == 0 {
		return nil, nil
	}
	return done, nil
}

// quarantined returns why what the target is to come to is not tried again, if it is not.
func (a *applier) quarantined(view store.View) error {
	if view.Err != nil || view.Head == nil {
		return nil
	}
	to, err := a.options.follow(view.Head)
	if err != nil {
		return nil //nolint:nilerr // It is said where the target follows.
	}
	return a.prover.refused(to)
}

// pass ends what was known of an earlier generation as refused, where no trial is to.
func (a *applier) pass() error {
	if a.target.Proof().Refused == nil || a.target.Proof().Trial != nil {
		return nil
	}
	return a.target.Proved()
}

// prove tries out what was applied. Contents that are needed come from the view.
func (a *applier) prove(ctx context.Context, view store.View) (time.Duration, error) {
	return a.prover.prove(ctx, func(of install.Version) install.Contents { return installed{a.options.Store, view, of} })
}

func (a *applier) plan(v *store.Version) (install.Plan, error) {
	want, err := a.options.selects(v.Tree)
	return install.Plan{Position: v.Position(), Want: want, All: v.Tree, Meta: a.options.meta(), KeepDrift: a.options.ReportDrift}, err
}

// resolve works out the version that the target is to come to.
func (a *applier) resolve(ctx context.Context, view store.View) (*store.Version, error) {
	state := a.target.State()
	if a.refused != nil && a.refusedAt == state.Position && a.options.sameAim(a.refusedUnder, view.Head) {
		return a.refused, nil
	}
	have := store.Have{Position: state.Position, Tree: state.All}
	if m := a.options.meta(); state.Meta.Tenant != m.Tenant || state.Meta.Prefix != m.Prefix {
		have = store.Have{} // the operator points the target at another tenant
	}
	if err := a.behind(ctx, view, have.Position); err != nil {
		return nil, err
	}
	seen := view.Head
	view, err := a.aim(ctx, view)
	if err != nil {
		return nil, err
	}
	version, err := a.options.Store.Resolve(ctx, have, view)
	switch {
	case errors.Is(err, store.ErrNoHead) && have.Position.IsZero():
		return nil, ErrNothing
	case errors.Is(err, store.ErrNoHead):
		return nil, a.gone(ctx, have.Position.Generation)
	case errors.Is(err, store.ErrRewound), errors.Is(err, store.ErrForeignTenant):
		return a.accept(ctx, view, seen, err)
	}
	return version, err
}

// accept goes on from a view that does not follow from where the target is, if an
// operator has accepted the head that was seen, or one before it.
func (a *applier) accept(ctx context.Context, view store.View, seen *store.Head, cause error) (*store.Version, error) {
	head := view.Head.Position
	accepted, err := a.target.Accepted()
	if err != nil {
		return nil, err
	}
	at := a.target.State().Position
	if accepted == nil || accepted.Tenant != head.Tenant || seen.Position.Generation < accepted.Generation {
		return nil, a.foreign(ctx, cause, at)
	}
	version, err := a.options.Store.Resolve(ctx, store.Have{}, view)
	if err != nil {
		return nil, err
	}
	if err := a.target.Rebase(head); err != nil {
		return nil, err
	}
	a.options.Log.Warn("goes on from an accepted head", "tenant", a.options.Tenant, "path", a.options.Dir, "generation", head.Generation)
	return version, nil
}

// explain adds what to do about it to an error of install that waits for an operator.
func (o Options) explain(err error) error {
	var conflict *install.Conflict
	switch {
	case errors.As(err, &conflict) && conflict.Replaceable == 0:
		return refuse(err, "do what is said of each path")
	case errors.As(err, &conflict):
		advice := `move them away, make them equal, or set existing = "replace" (or stop the agent and pull --existing replace): what is replaced is kept`
		if others := conflict.Total - conflict.Replaceable; others > 0 {
			advice += fmt.Sprintf("; that does not help with %d of them, of which is said what does", others)
		}
		return refuse(err, advice)
	case errors.Is(err, install.ErrForeignTenant), errors.Is(err, install.ErrOlder), errors.Is(err, install.ErrOtherFileSystem), errors.Is(err, install.ErrNested),
		errors.Is(err, install.ErrUnswitchable):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}
