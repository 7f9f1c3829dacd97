package rollout

import (
	"slices"

	"github.com/confsyncd/confsyncd/internal/codec"
	"github.com/confsyncd/confsyncd/internal/diff"
	"github.com/confsyncd/confsyncd/internal/fleet"
)

// share returns the selector of a stage: of the hosts that the label and channel take, no
// fewer than the stage's percent of them. Where there are few, their stable numbers may all
// lie above it.
func share(stage codec.RolloutStage, channel string, tenant diff.TenantID, hosts []fleet.Host) codec.Selector {
	s := codec.Selector{Label: stage.Label, Parts: stage.Percent * codec.AllParts / 100}
	var numbers []uint32
	for _, h := range hosts {
		if h.Follows(channel) && s.Has(h.Report.Labels) {
			numbers = append(numbers, codec.Share(tenant, h.ID))
		}
	}
	slices.Sort(numbers)
	if want := (len(numbers)*int(stage.Percent) + 99) / 100; want > 0 {
		s.Parts = max(s.Parts, numbers[want-1]+1)
	}
	return s
}
