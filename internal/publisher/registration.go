package publisher

import (
	"context"
	"errors"
	"time"

	"github.com/confsyncd/confsyncd/internal/store"
)

// registeredAgain is how often a publisher that the registration keeps from publishing
// reads it again.
const registeredAgain = 5 * time.Second

// register reads the tenant's registration, unless it is known. What is committed compares
// it; so it is read again only where something tells that it is another one, or that it may
// be.
func (p *Publisher) register(ctx context.Context) error {
	if p.registered != nil && p.view.Head != nil && time.Now().Before(p.registeredUntil) {
		return nil
	}
	r, err := p.options.Store.Registration(ctx)
	if err != nil {
		return err
	}
	p.registered, p.registeredUntil = &r, time.Now().Add(time.Hour)
	return nil
}

// reregistered reads the registration again if an error says that it is another one, and reports
// whether it has: what failed can be tried again.
func (p *Publisher) reregistered(ctx context.Context, err error) bool {
	if !errors.Is(err, store.ErrRegistration) {
		return false
	}
	p.registeredUntil = time.Time{}
	return p.register(ctx) == nil
}

// restrained returns when to look again if it is the registration that keeps the publisher
// from publishing: nothing is watched that would tell of another one.
func (p *Publisher) restrained(err error) time.Duration {
	r := p.registered
	if r == nil || r.Deleted() == nil && r.Buried(p.memory.state.Position.Tenant) == nil && !errors.Is(err, errQuota) {
		return never
	}
	p.registeredUntil = time.Now()
	return registeredAgain
}

// allowed returns ErrRefused if the tenant was deleted: the one that is registered, or the
// one that is remembered, if the registered one has no head yet.
func (c claim) allowed(head *store.Head) error {
	if tomb := c.registered.Deleted(); tomb != nil {
		return refuse("stop this publisher, or make the tenant anew with \"confsyncd tenant create "+c.options.Tenant+"\"",
			"tenant %q was %v", c.options.Tenant, tomb)
	}
	if tomb := c.registered.Buried(c.known.Tenant); tomb != nil && !c.takeOver && (head == nil || head.Position.Tenant != c.known.Tenant) {
		return refuse("--take-over publishes this directory as the new one",
			"tenant %q, to which this directory was published, was %v; another one of the same name was created since", c.options.Tenant, tomb)
	}
	return nil
}
