package tenant

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/store"
)

var (
	// ErrNone is returned where there is no tenant of that name, or none any more.
	ErrNone = errors.New("there is no such tenant")
	// ErrExists is returned where a tenant of that name is there already.
	ErrExists = errors.New("the tenant exists")
	// ErrLeft is returned where keys of a deleted tenant are left.
	ErrLeft = errors.New("the deletion of the tenant is not complete")
)

// Tenant is what is known of one.
type Tenant struct {
	Name string
	store.Standing
}

// State returns what it is in one word: "live", "empty" if nothing was published yet,
// "deleting" if it was deleted and keys are left, "deleted", or "none".
func (t Tenant) State() string {
	switch {
	case t.Registration.Deleted() != nil && t.Keys > 0:
		return "deleting"
	case t.Registration.Deleted() != nil && t.Registration.Deleted().Cleared.IsZero():
		return "deleting" // it was killed after the last key
	case t.Registration.Deleted() != nil:
		return "deleted"
	case t.View.Head != nil, t.View.Err != nil:
		return "live"
	case t.Registration.Exists(), t.Keys > 0:
		return "empty"
	}
	return "none"
}

// ID returns the tenant's id; zero if it was deleted, or has none yet.
func (t Tenant) ID() diff.TenantID {
	if t.View.Head != nil && t.Registration.Deleted() == nil {
		return t.View.Head.Position.Tenant
	}
	return t.Registration.ID
}

// Expired reports whether its time to live is over.
func (t Tenant) Expired(now time.Time) bool {
	return t.Registration.Deleted() == nil && !t.Registration.Expires.IsZero() && !now.Before(t.Registration.Expires)
}

// Show returns what is known of a tenant. It returns ErrNone if there is nothing.
func Show(ctx context.Context, etcd *store.Client, name string) (Tenant, error) {
	now, err := etcd.Tenant(name).Standing(ctx)
	t := Tenant{Name: name, Standing: now}
	if err == nil && t.State() == "none" {
		err = fmt.Errorf("tenant %q: %w", name, ErrNone)
	}
	return t, err
}

// List returns the tenants that a selector means, in the order of their names, deleted
// ones included. Names for which valid returns an error are nobody's.
func List(ctx context.Context, etcd *store.Client, sel Selector, valid func(name string) error) ([]Tenant, error) {
	names, err := etcd.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	var list []Tenant
	for _, name := range names {
		if valid(name) != nil {
			continue
		}
		t, err := Show(ctx, etcd, name)
		if errors.Is(err, ErrNone) {
			continue // it went meanwhile
		}
		if err != nil {
			return nil, err
		}
		if sel.Matches(t.Registration.Labels) {
			list = append(list, t)
		}
	}
	return list, nil
}

// Settings are what an operator says of a tenant; what is nil stays as it is.
type Settings struct {
	Labels map[string]*string // nil takes the label away
	// TTL counts from now; 0 is for ever.
	TTL                    *time.Duration
	QuotaBytes, QuotaFiles *int64 // 0 is none
}

func (s Settings) apply(r *codec.Registration, now time.Time) error {
	if len(s.Labels) > 0 {
		r.Labels = maps.Clone(r.Labels)
		if r.Labels == nil {
			r.Labels = make(map[string]string)
		}
		for key, value := range s.Labels {
			if value == nil {
				delete(r.Labels, key)
				continue
			}
			r.Labels[key] = *value
		}
	}
	if len(r.Labels) > codec.MaxLabels {
		return fmt.Errorf("%d labels are over %d", len(r.Labels), codec.MaxLabels)
	}
	if s.TTL != nil {
		if r.Expires = (time.Time{}); *s.TTL > 0 {
			r.Expires = now.Add(*s.TTL)
		}
	}
	if s.QuotaBytes != nil {
		r.QuotaBytes = *s.QuotaBytes
	}
	if s.QuotaFiles != nil {
		r.QuotaFiles = *s.QuotaFiles
	}
	return nil
}

// Create registers a tenant that has no commit yet, and gives it a random id. Where one of
// that name was deleted it is another tenant: agents of the old one do not follow it. It
// returns ErrExists, or ErrLeft if the deletion of the old one is not complete.
func Create(ctx context.Context, etcd *store.Client, name string, s Settings) (Tenant, error) {
	return change(ctx, etcd, name, func(t Tenant, now time.Time) (codec.Registration, error) {
		switch t.State() {
		case "deleting":
			return codec.Registration{}, fmt.Errorf("tenant %q: %w", name, ErrLeft)
		case "live":
			return codec.Registration{}, fmt.Errorf("tenant %q: %w: it is at generation %d", name, ErrExists, t.generation())
		}
		if t.Registration.Exists() && t.Registration.Deleted() == nil {
			return codec.Registration{}, fmt.Errorf("tenant %q: %w: it was created at %s", name, ErrExists, t.Registration.Created.Format(time.RFC3339))
		}
		r := codec.Registration{Created: now, Tombstones: t.Registration.Tombstones}
		rand.Read(r.ID[:]) // never fails, see crypto/rand
		return r, s.apply(&r, now)
	})
}

// Set changes what is said of a tenant, also of one that was not created. It returns
// ErrNone if there is none.
func Set(ctx context.Context, etcd *store.Client, name string, s Settings) (Tenant, error) {
	return change(ctx, etcd, name, func(t Tenant, now time.Time) (codec.Registration, error) {
		r := t.Registration.Registration
		if t.State() == "none" || r.Deleted() != nil || t.ID().IsZero() {
			return r, fmt.Errorf("tenant %q: %w", name, ErrNone)
		}
		r.ID = t.ID()
		return r, s.apply(&r, now)
	})
}

// change replaces the registration by what decide makes of the tenant, again where others
// do that too.
func change(ctx context.Context, etcd *store.Client, name string, decide func(Tenant, time.Time) (codec.Registration, error)) (Tenant, error) {
	s := etcd.Tenant(name)
	for {
		on, err := s.Standing(ctx)
		if err != nil {
			return Tenant{}, err
		}
		next, err := decide(Tenant{name, on}, time.Now().UTC().Truncate(time.Second))
		if err != nil {
			return Tenant{}, err
		}
		r, err := s.Register(ctx, on, next, false)
		if err == nil {
			on.Registration = r
			return Tenant{name, on}, nil
		}
		if !errors.Is(err, store.ErrRegistration) && !errors.Is(err, store.ErrLostRace) || ctx.Err() != nil {
			return Tenant{}, err
		}
	}
}

// Usage returns how many files the head's tree has, and how many bytes of contents.
func Usage(ctx context.Context, etcd *store.Client, t Tenant) (files, bytes int64, err error) {
	if t.View.Err != nil || t.View.Head == nil {
		return 0, 0, t.View.Err
	}
	v, err := etcd.Tenant(t.Name).Resolve(ctx, store.Have{}, t.View)
	if err != nil {
		return 0, 0, err
	}
	for _, e := range v.Tree.All() {
		if e.HasContent() {
			files, bytes = files+1, bytes+e.Size
		}
	}
	return files, bytes, nil
}

func (t Tenant) generation() uint64 {
	if t.View.Head == nil {
		return 0
	}
	return t.View.Head.Position.Generation
}
