package main

import (
	"context"
	"fmt"

	"github.com/confsyncd/confsyncd/internal/rollout"
	"github.com/confsyncd/confsyncd/internal/store"
)

// rolloutHosts returns what is known of a tenant's hosts.
func rolloutHosts(ctx context.Context, s *store.Store) ([]rollout.Host, error) {
	reports, err := s.Reports(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]rollout.Host, len(reports))
	for i, r := range reports {
		list[i] = rollout.Host{ID: r.ID, Labels: r.Host.Labels, Targets: r.Host.Targets}
		switch {
		case r.Err != nil:
			list[i].Trouble = r.Err.Error()
		case len(r.Alive) == 0:
			list[i].Trouble = "down"
		case len(r.Alive) > 1:
			list[i].Trouble = fmt.Sprintf("%d processes go by its id", len(r.Alive))
		}
	}
	return list, nil
}
