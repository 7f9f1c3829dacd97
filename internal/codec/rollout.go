package codec

import "time"

// maxRollout bounds the state of a rollout in bytes.
const maxRollout = 32 << 10

// The states of a rollout. It is over in all but the first three.
const (
	RolloutRunning    = "running"
	RolloutPaused     = "paused"      // an operator wants it to stay where it is
	RolloutHalted     = "halted"      // something is wrong with the generation, or its hosts
	RolloutAborted    = "aborted"     // an operator gave it up
	RolloutRolledBack = "rolled_back" // it was halted, and a new generation has the old content
	RolloutSuperseded = "superseded"  // the channel came to another generation without it
	RolloutDone       = "done"
)

// Rollout is how far a generation has come on its way to all hosts of a channel, the
// value of ctl/rollout. It lies in etcd as JSON and outside the envelope, like Host.
type Rollout struct {
	Channel    string `json:"channel"`
	Generation uint64 `json:"generation"`
	Commit     string `json:"commit"`
	// From is what the channel was at when it began, and what a rollback has the content of.
	From  uint64 `json:"from"`
	State string `json:"state"`
	// Reason says why it is in this state, or what it waits for.
	Reason string `json:"reason,omitempty"`
	// Stage is the one under way, counted from 0.
	Stage  int            `json:"stage"`
	Stages []RolloutStage `json:"stages"`
	Policy RolloutPolicy  `json:"policy"`
	Began  time.Time      `json:"began"`
	// StageBegan is when its stage did, or when it was resumed; Healthy is since when all its
	// hosts have been done and well, zero if they are not.
	StageBegan time.Time `json:"stage_began"`
	Healthy    time.Time `json:"healthy,omitzero"`
	// RolledBack is the generation that has the old content; 0 if there is none.
	RolledBack uint64 `json:"rolled_back,omitempty"`
	// By names who changed it last: a publisher, or an operator.
	By   string    `json:"by"`
	Time time.Time `json:"time"`
}

// RolloutStage is a channel of its own that comes to the generation, or a share of the hosts of
// the rollout's channel, or all of them if neither Channel nor Percent is set.
type RolloutStage struct {
	Channel string `json:"channel,omitempty"`
	Label   string `json:"label,omitempty"` // "key=value"; empty: all hosts
	Percent uint32 `json:"percent,omitempty"`
}

// RolloutPolicy is what a rollout goes by.
type RolloutPolicy struct {
	Bake         time.Duration `json:"bake"`          // for how long a stage's hosts must stay well
	StageTimeout time.Duration `json:"stage_timeout"` // when a stage that is not done halts
	MaxFailures  int           `json:"max_failures"`  // more hosts than that halt it
	Rollback     bool          `json:"rollback"`      // once halted, the old content comes back
}

// Over reports whether nothing more comes of the rollout by itself.
func (r Rollout) Over() bool {
	return r.State != RolloutRunning && r.State != RolloutPaused && r.State != RolloutHalted
}

// EncodeRollout returns the stored bytes of r.
func EncodeRollout(r Rollout) ([]byte, error) { return encodeJSON("rollout", r, maxRollout) }

// DecodeRollout reads the stored bytes of a rollout, as DecodeHost does.
func DecodeRollout(b []byte) (r Rollout, err error) {
	err = decodeJSON("rollout", b, maxRollout, &r)
	return r, err
}
