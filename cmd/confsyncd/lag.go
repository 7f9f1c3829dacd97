package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/confsyncd/confsyncd/internal/store"
)

// waits works out since when the targets wait for what they do not have:
//
//   - behind a head that is known: since the first generation that is missing was
//     committed, by its publisher's clock, or the head, if that generation is not there
//     any more. Why, be it a pause, a pin or a fault, does not matter;
//   - where the head or the target's generation is not known, or the head does not follow
//     from what the target has: since its agent or pull came to the state that it
//     reported last, unless a running agent reported that it equals the head;
//   - never, if there is nothing that it could have.
func (a *app) waits(ctx context.Context, s *status, etcd *store.Client) {
	for i := range s.Targets {
		t := &s.Targets[i]
		head := s.head(t.Tenant)
		var since *time.Time
		switch {
		case head != nil && head.Error == "" && head.Generation == 0 && t.Generation == 0:
		case t.Behind != nil && *t.Behind == 0:
		case t.Behind != nil:
			since = firstMissing(ctx, etcd.Tenant(t.Tenant), t.applied(), head.Time)
		case t.Running && (t.State == inSync || t.State == "drifted") && (t.unread || head == nil || head.Error != ""):
		case t.Since == nil:
			since = &time.Time{}
		default:
			since = t.Since
		}
		lag := 0.0
		if since != nil && since.IsZero() {
			continue // it cannot be told
		}
		if since != nil {
			lag = max(0, time.Since(*since).Seconds())
		}
		t.LagSeconds = &lag
	}
}

// head returns what is known of a tenant.
func (s *status) head(tenant string) *tenantStatus {
	for i := range s.Tenants {
		if s.Tenants[i].Tenant == tenant {
			return &s.Tenants[i]
		}
	}
	return nil
}

// firstMissing returns when the generation after the given one was committed.
func firstMissing(ctx context.Context, s *store.Store, generation uint64, head *time.Time) *time.Time {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	view, err := s.View(ctx)
	if err != nil || view.Head == nil {
		return head
	}
	r, _, err := s.Record(ctx, view, generation+1)
	if err != nil {
		return head
	}
	return &r.Time
}

// late returns an error that names the targets that have been waiting for longer.
func (s *status) late(most time.Duration) error {
	var late []string
	for _, t := range s.Targets {
		switch {
		case t.LagSeconds == nil:
			late = append(late, fmt.Sprintf("%s (for how long is not known)", printable(t.Dir)))
		case *t.LagSeconds > most.Seconds():
			late = append(late, fmt.Sprintf("%s (%s, %s)", printable(t.Dir), ageText(time.Duration(*t.LagSeconds*1e9)), t.State))
		}
	}
	if len(late) == 0 {
		return nil
	}
	return fmt.Errorf("behind the head for longer than %v: %s", most, strings.Join(late, ", "))
}
