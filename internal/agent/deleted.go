package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

// tombstoneAgain is how often an agent that holds asks whether its tenant was deleted: all
// agents of the tenant do.
const tombstoneAgain = time.Minute

// burial is what an agent last learned of the end of the tenant whose files it has.
type burial struct {
	tenant diff.TenantID
	asked  time.Time
	tomb   *codec.Tombstone // nil if it was not deleted, or that may not be read
}

// buried returns the tombstone of the tenant whose files the target has, nil if there is
// none.
func (a *applier) buried(ctx context.Context) (*codec.Tombstone, error) {
	id := a.target.State().Position.Tenant
	if a.burial.tenant == id && time.Since(a.burial.asked) < tombstoneAgain {
		return a.burial.tomb, nil
	}
	r, err := a.options.Store.Registration(ctx)
	if store.Temporary(err) {
		return nil, err
	}
	if err != nil {
		a.options.Log.Warn("whether the tenant was deleted cannot be told", "tenant", a.options.Tenant, "path", a.options.Dir, "error", err)
	}
	a.burial = burial{id, time.Now(), r.Buried(id)}
	return a.burial.tomb, nil
}

// gone returns why there is no commit of the tenant any more.
func (a *applier) gone(ctx context.Context, generation uint64) error {
	tomb, err := a.buried(ctx)
	switch {
	case err != nil:
		return err
	case tomb != nil:
		return refuse(fmt.Errorf("tenant %q was %v", a.options.Tenant, tomb),
			fmt.Sprintf("files are kept; \"confsyncd forget %s\" makes it an ordinary directory again", a.options.Dir))
	}
	return refuse(fmt.Errorf("etcd has no commit of tenant %q any more, here is generation %d", a.options.Tenant, generation),
		"files are kept; if etcd was replaced, let the publisher publish: it continues the history")
}

// foreign returns why a head that does not follow from where the target is, is not
// followed.
func (a *applier) foreign(ctx context.Context, cause error, at diff.Position) error {
	tomb, err := a.buried(ctx)
	switch {
	case err != nil:
		return err
	case tomb != nil:
		return refuse(fmt.Errorf("tenant %q was %v; another one of the same name was created since: %w", a.options.Tenant, tomb, cause),
			fmt.Sprintf("files are kept; \"confsyncd accept %s\" follows the new one, \"confsyncd forget %s\" makes it an ordinary directory again", a.options.Dir, a.options.Dir))
	}
	return refuse(cause, fmt.Sprintf("files are kept, and a publisher that remembers generation %d leads on by itself; "+
		"if none does, \"confsyncd push --tenant %s --dir DIR --found %v:%d\" at the publisher leads all hosts on (the highest generation that any host shows is the one to name), "+
		"\"confsyncd accept %s\" just this one",
		at.Generation, a.options.Tenant, at.Tenant, at.Generation, a.options.Dir))
}
