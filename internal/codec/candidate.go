package codec

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
func EncodeCandidate(c Candidate) ([]byte, error) { return encodeJSON("candidate", c, maxCandidate) }

// DecodeCandidate reads the stored bytes of a candidate. Fields that it does not know
// are left out: a newer publisher may have more to say. It returns ErrDamaged if b is
// none.
func DecodeCandidate(b []byte) (c Candidate, err error) {
	err = decodeJSON("candidate", b, maxCandidate, &c)
	return c, err
}
