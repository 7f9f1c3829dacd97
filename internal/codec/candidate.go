package codec

import (
	"encoding/json"
	"fmt"
)

// maxCandidate bounds a candidate in bytes.
const maxCandidate = 4 << 10

// Candidate says who stands for election. It lies in etcd as JSON and outside the
// envelope: it goes with its lease, nothing that is kept is decided by it, and an
// operator reads it with etcdctl.
type Candidate struct {
	Publisher string `json:"publisher"` // its name in heads
	Instance  string `json:"instance"`  // its instance in heads
	Host      string `json:"host"`      // name of its machine
}

// EncodeCandidate returns the stored bytes of c.
func EncodeCandidate(c Candidate) ([]byte, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode candidate: %w", err)
	}
	if len(b) > maxCandidate {
		return nil, fmt.Errorf("encode candidate: %d bytes are over %d", len(b), maxCandidate)
	}
	return b, nil
}

// DecodeCandidate reads the stored bytes of a candidate. Fields that it does not know
// are left out: a newer publisher may have more to say. It returns ErrDamaged if b is
// none.
func DecodeCandidate(b []byte) (Candidate, error) {
	if len(b) > maxCandidate {
		return Candidate{}, fmt.Errorf("%w: candidate of %d bytes", ErrDamaged, len(b))
	}
	var c Candidate
	if err := json.Unmarshal(b, &c); err != nil {
		return Candidate{}, fmt.Errorf("%w: candidate: %w", ErrDamaged, err)
	}
	return c, nil
}
