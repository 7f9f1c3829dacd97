package config

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// mostStages is how many stages a rollout may have: each may be a selector in the head.
const mostStages = 16

// Rollout is how commits come to the hosts of a channel, stage by stage.
type Rollout struct {
	Channel      string
	Bake         time.Duration // for how long a stage's hosts must stay well
	StageTimeout time.Duration
	MaxFailures  int    // hosts
	OnHalt       string // "hold" or "rollback"
	Stages       []Stage
}

// Stage is a channel, or a share of the hosts of the rollout's channel.
type Stage struct {
	Channel string
	Label   string  // "key=value"
	Percent float64 // 0 to 1, in hundredths
}

// DefaultRollout returns a rollout that lacks only its stages.
func DefaultRollout() Rollout {
	return Rollout{Channel: "main", Bake: 5 * time.Minute, StageTimeout: 30 * time.Minute, OnHalt: "hold"}
}

func (r *Rollout) keys() []key {
	return []key{
		{"channel", text(&r.Channel, channelName)},
		{"bake", duration(&r.Bake, atLeast(0))},
		{"stage_timeout", duration(&r.StageTimeout, atLeast(time.Second))},
		{"max_failures", whole(&r.MaxFailures, hosts)},
		{"on_halt", text(&r.OnHalt, oneOf("hold", "rollback"))},
		{"stage", tables(&r.Stages, func() Stage { return Stage{} })},
	}
}

func (s *Stage) keys() []key {
	return []key{
		{"channel", text(&s.Channel, optional(channelName))},
		{"label", text(&s.Label, optional(hostLabel))},
		{"percent", percent(&s.Percent, wholePercent)},
	}
}

func (r *Rollout) relations() Faults {
	var faults Faults
	switch {
	case len(r.Stages) == 0:
		faults = faultsOf("stage", fault("write at least one [[source.rollout.stage]]; all other hosts come last by themselves", "is missing"))
	case len(r.Stages) > mostStages:
		faults = faultsOf("stage", fault(fmt.Sprintf("write at most %d", mostStages), "there are %d stages", len(r.Stages)))
	}
	seen := []string{r.Channel}
	for i, s := range r.Stages {
		if s.Channel == "" {
			continue
		}
		if slices.Contains(seen, s.Channel) {
			faults = append(faults, faultsOf(index("stage", i)+".channel", fault("name another, or leave the stage out",
				"%s comes in another stage, or is the rollout's own channel", clip(s.Channel)))...)
		}
		seen = append(seen, s.Channel)
	}
	return faults
}

func (s *Stage) relations() Faults {
	switch {
	case s.Channel == "" && s.Percent == 0:
		return faultsOf("percent", fault(`write percent = "10%", or name a channel`, "is missing, and so is channel"))
	case s.Channel != "" && (s.Percent != 0 || s.Label != ""):
		return faultsOf("channel", fault("write two stages", "stands beside percent or label, which are of the rollout's own channel"))
	}
	return nil
}

func hosts(n int) error {
	if n < 0 {
		return fault("write 0 or more", "%d is negative", n)
	}
	return nil
}

func wholePercent(f float64) error {
	if n := f * 100; n < 0 || n > 100 || math.Abs(n-math.Round(n)) > 1e-9 {
		return fault(`write "1%" to "100%"`, "%g%% is no whole percent of the hosts", n)
	}
	return nil
}

// hostLabel is the rule of a label that hosts are selected by.
func hostLabel(s string) error {
	key, value, ok := strings.Cut(s, "=")
	if !ok || key == "" || value == "" || len(s) > 127 || printable(s) != nil {
		return fault(`write key=value in at most 127 characters, such as "role=web"`, "%s is no label", clip(s))
	}
	return nil
}
