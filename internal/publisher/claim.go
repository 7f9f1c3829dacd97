package publisher

import (
	"fmt"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// claim is all that decides whether a publisher may publish on top of a head.
type claim struct {
	options  Options
	push     *PushOptions // nil for a daemon
	instance string
	known    diff.Position // that is remembered; zero if none is
	// stood is the position of the head that it is live under in this process.
	stood  diff.Position
	digest diff.Hash // of the directory
	// takeOver lets it publish over the head, whoever made it.
	takeOver bool
	// lineage is how the directory stands to what is remembered; nil if there is no
	// election.
	lineage *descent
	// unsure is set if this process sent a commit and could not learn its outcome.
	unsure bool
	// ours is set if what is remembered comes from the directory, see memory.
	ours bool
	// apart is set if the directory is another than the tree that is remembered, and that
	// is known to be somebody else's doing.
	apart bool
	// registered is the tenant's registration.
	registered codec.Registration
}

// verdict is where a publisher that may publish goes on from.
type verdict int

const (
	// stays: what is remembered is the head.
	stays verdict = iota + 1
	// joins: the head, if etcd still holds what is remembered; else it founds.
	joins
	// goesOn: the head, and only what was edited in the directory since it was published
	// last is committed on top of that.
	goesOn
	// founds: nothing in etcd; the history begins anew.
	founds
)

// judge decides whether the publisher may publish on top of head, nil if there is
// none. It returns ErrConflict or ErrRefused, with what to do about it, if not.
func (c claim) judge(head *store.Head) (verdict, error) {
	if err := c.allowed(head); err != nil {
		return 0, err
	}
	if err := c.unmoved(head); err != nil {
		return 0, err
	}
	elected := c.lineage != nil && !c.takeOver
	switch {
	case head == nil && elected && !c.known.IsZero() && !c.lineage.eligible:
		return 0, c.ineligible(fmt.Sprintf("generation %d, which etcd has lost", c.known.Generation))
	case head == nil:
		return founds, nil
	case c.push != nil && c.push.Found != nil:
		return founds, c.mayPush(head)
	case !c.known.IsZero() && head.Position.Tenant != c.known.Tenant && !c.takeOver && !c.ledOn(head):
		return 0, refuse("see whether this is the right etcd; --take-over publishes this directory there, "+
			"and "+c.options.pushWith("--found ID:GEN")+" leads agents of the old tenant id on",
			"etcd has tenant %q with id %v, this publisher knows it as %v", c.options.Tenant, head.Position.Tenant, c.known.Tenant)
	case head.Position == c.known && c.push == nil && !(c.apart && c.takeOver) && (c.stood == head.Position || head.Instance == c.instance || c.beside(head)):
		return stays, nil
	case elected && c.lineage.eligible:
		return goesOn, nil
	case elected:
		return 0, c.ineligible(fmt.Sprintf("generation %d by %q (instance %s)", head.Position.Generation, head.Publisher, head.Instance))
	case c.beside(head) && head.Instance != c.instance && !c.takeOver:
		return goesOn, nil
	case head.Digest == c.digest, c.takeOver:
		return joins, nil
	case c.push != nil:
		return joins, c.mayPush(head)
	case head.Instance == c.instance && !c.apart:
		return joins, nil
	case head.Instance == c.instance:
		return goesOn, nil
	}
	return 0, conflict("this directory differs from it, so it is not published; make them equal, or use --take-over to publish the directory",
		"generation %d of tenant %q was published by %q (instance %s)", head.Position.Generation, c.options.Tenant, head.Publisher, head.Instance)
}

// ineligible returns why a publisher in an election must not be the one that publishes on
// top of a commit.
func (c claim) ineligible(commit string) error {
	how := "has not been equal to it since this process began"
	if c.lineage.lags {
		how = "lags behind it"
	}
	return conflict("make them equal, and this publisher may lead from then on; or use --take-over to publish this directory",
		"%s: this directory %s; the newest commit is %s", c.lineage.apart, how, commit)
}

// ledOn reports whether a push --found of this directory, beside this process, gave the
// head its tenant id: it then lies above what is remembered. One that an etcd restored
// from a backup has kept from before such a push lies below.
func (c claim) ledOn(head *store.Head) bool {
	return head.Instance == c.instance && head.Position.Generation > c.known.Generation
}

// unmoved returns ErrConflict if a push names the generation that it is to follow, and
// the head is another one.
func (c claim) unmoved(head *store.Head) error {
	if c.push == nil || c.push.Parent == nil {
		return nil
	}
	want := *c.push.Parent
	const remedy = "look at what came in between, and push again with the generation that \"confsyncd status\" shows"
	switch {
	case head == nil && want == 0, head != nil && head.Position.Generation == want:
		return nil
	case head == nil:
		return conflict(remedy, "tenant %q has no commit, so its head is not at generation %d", c.options.Tenant, want)
	case c.unsure && head.Instance == c.instance && head.Digest == c.digest:
		return nil // it is the commit that was sent
	}
	return conflict(remedy, "the head of tenant %q is at generation %d, by %q, and not at %d",
		c.options.Tenant, head.Position.Generation, head.Publisher, want)
}

// beside reports whether the head was committed under the name of this publisher, by another:
// a push from elsewhere, or a rollback. In an election the lineage tells.
func (c claim) beside(head *store.Head) bool {
	return c.push == nil && c.lineage == nil && c.ours && head.Publisher == c.options.Name
}

// mayPush returns ErrConflict unless the head has this publisher's name. Who names the
// head's generation instead has seen it. While a publisher goes on beside such a head, a push
// of its directory would undo it; and so would the push of a directory that has not been equal
// to the head since a rollback.
func (c claim) mayPush(head *store.Head) error {
	switch {
	case c.takeOver, c.push.Parent != nil:
		return nil
	case c.apart:
		return conflict(c.options.waysOut(), "generation %d of tenant %q has what was published beside this directory, which differs from it",
			head.Position.Generation, c.options.Tenant)
	case head.Publisher != c.options.Name:
		return conflict(`give its name with --publisher if it is you, or use --take-over to publish the directory in its place`,
			"generation %d of tenant %q was published by %q, not by %q", head.Position.Generation, c.options.Tenant, head.Publisher, c.options.Name)
	case head.Rollback > 0 && c.known.Generation < head.Position.Generation && c.push.Found == nil:
		out := c.options.waysOut()
		if c.known.IsZero() {
			out = c.options.pushWith("--take-over") + " publishes the directory; or make it equal to the head first, push that, and edit then"
		}
		return conflict(out, "generation %d of tenant %q has what a rollback to generation %d brought back, and this directory differs from it",
			head.Position.Generation, c.options.Tenant, head.Rollback)
	}
	return nil
}

// pushWith names the command by which a person publishes the directory with a flag.
func (o Options) pushWith(flag string) string {
	return fmt.Sprintf("\"confsyncd push --tenant %s --dir %s --publisher %s %s\"", o.Tenant, o.Dir, o.Name, flag)
}
