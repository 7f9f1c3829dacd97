package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/confsyncd/confsyncd/internal/install"
	"github.com/confsyncd/confsyncd/internal/journal"
)

// retried is what retry prints with -o json.
type retried struct {
	Dir string `json:"dir"`
	// Quarantined is the generation that is tried again; 0 if none was refused.
	Quarantined uint64 `json:"quarantined,omitempty"`
	Hook        string `json:"hook,omitempty"`
	Reason      string `json:"reason,omitempty"`
}

// refusedFacts are the facts of a generation that a hook has refused.
type refusedFacts struct {
	Generation uint64    `json:"generation"`
	Hook       string    `json:"hook"`
	Reason     string    `json:"reason"`
	Time       time.Time `json:"time"`
}

// proof adds what hooks said of generations.
func (t *targetStatus) proof(p install.Proof, at journal.State) {
	if r := p.Refused; r != nil {
		t.Quarantined = &refusedFacts{Generation: r.Generation, Hook: r.Hook, Reason: r.Reason, Time: r.Time}
	}
	if of := p.Content(at); !of.Is(at.Position) {
		t.Reverted = of.Generation
	}
}

func (a *app) retryCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "retry DIR",
		Short: "Try a generation again that a hook has refused",
		Long: `Retry lets the agent of the target at DIR, or the next pull, try a generation again
that check, reload or health has refused there (quarantined). A generation that was
reverted is applied anew; for one that was kept, reload and health run again. It
needs no etcd. A newer generation is tried without it.`,
		Args: arguments("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.onTarget(args[0], func(dir string) error {
				p, err := install.ReadProof(dir)
				if err != nil {
					return err
				}
				if err := install.Retry(dir, install.Hold{By: operator(), Time: now()}); err != nil {
					return err
				}
				r := retried{Dir: dir}
				if p.Refused != nil {
					r = retried{Dir: dir, Quarantined: p.Refused.Generation, Hook: p.Refused.Hook, Reason: p.Refused.Reason}
				}
				if a.output == "json" {
					return a.json(r)
				}
				if p.Refused == nil {
					return a.printf("%s: no generation is quarantined\n", printable(dir))
				}
				return a.printf("%s: generation %d is tried again; it was refused: %s\n", printable(dir), r.Quarantined, printable(r.Reason))
			})
		},
	}
}
