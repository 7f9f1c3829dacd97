package codec

import (
	"encoding/json"
	"fmt"
	"time"
)

const (
	// MaxHost bounds what a host says of itself in bytes.
	MaxHost  = 64 << 10
	maxAlive = 4 << 10
)

// Host is what a host says of itself and its targets, the value of hosts/<id>. It lies in
// etcd as JSON and outside the envelope: no target is changed by it, and an operator reads
// it with etcdctl.
type Host struct {
	Name     string            `json:"name"`     // of the machine
	Instance string            `json:"instance"` // of the process, see Alive
	Version  string            `json:"version"`  // of confsyncd
	Labels   map[string]string `json:"labels,omitempty"`
	Targets  []HostTarget      `json:"targets"`
	Time     time.Time         `json:"time"` // of the report
}

// HostTarget is what a target of a host is at.
type HostTarget struct {
	Dir     string `json:"dir"`
	Channel string `json:"channel"`
	// State is one word, and Reason says what it waits for, as in package report.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// TenantID is that of the applied generation.
	TenantID string `json:"tenant_id,omitempty"`
	// Seen is the newest generation that the target is to come to, Applied the one whose
	// files it has, Reloaded the one that whoever uses them was told of last, or that needed no
	// telling. 0 is none.
	Seen     uint64 `json:"seen"`
	Applied  uint64 `json:"applied"`
	Reloaded uint64 `json:"reloaded"`
	// Quarantined is the generation that a hook has refused, and that is not tried again; 0
	// is none.
	Quarantined uint64 `json:"quarantined,omitempty"`
	// Hook is the outcome of the last hook that ran, nil if none did.
	Hook *HookOutcome `json:"hook,omitempty"`
	// Drift is how many paths are not as they were published.
	Drift int       `json:"drift,omitempty"`
	Since time.Time `json:"since"` // when it came to this
}

// HookOutcome is how a hook ended.
type HookOutcome struct {
	Name       string    `json:"name"` // "check", "reload" or "health"
	Generation uint64    `json:"generation"`
	OK         bool      `json:"ok"`
	Reason     string    `json:"reason,omitempty"` // why not; never what it printed
	Time       time.Time `json:"time"`
}

// Alive is the value of a key that goes with its process's lease.
type Alive struct {
	// Instance is random, one for each process: two that are alive under one id are told
	// apart by it.
	Instance string    `json:"instance"`
	Name     string    `json:"name"` // of the machine
	PID      int       `json:"pid"`
	Since    time.Time `json:"since"`
}

// EncodeHost returns the stored bytes of h.
func EncodeHost(h Host) ([]byte, error) { return encodeJSON("host", h, MaxHost) }

// DecodeHost reads the stored bytes of a host's report. Fields that it does not know are
// left out: a newer agent may have more to say. It returns ErrDamaged if b is none.
func DecodeHost(b []byte) (h Host, err error) {
	err = decodeJSON("host", b, MaxHost, &h)
	return h, err
}

// EncodeAlive returns the stored bytes of a.
func EncodeAlive(a Alive) ([]byte, error) { return encodeJSON("sign of life", a, maxAlive) }

// DecodeAlive reads the stored bytes of a sign of life, as DecodeHost does.
func DecodeAlive(b []byte) (a Alive, err error) {
	err = decodeJSON("sign of life", b, maxAlive, &a)
	return a, err
}

func encodeJSON(what string, v any, limit int) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", what, err)
	}
	if len(b) > limit {
		return nil, fmt.Errorf("encode %s: %d bytes are over %d", what, len(b), limit)
	}
	return b, nil
}

func decodeJSON(what string, b []byte, limit int, v any) error {
	if len(b) > limit {
		return fmt.Errorf("%w: %s of %d bytes", ErrDamaged, what, len(b))
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, what, err)
	}
	return nil
}
