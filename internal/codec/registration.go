package codec

import (
	"fmt"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
)

const (
	// MaxRegistration bounds a registration in bytes.
	MaxRegistration = 64 << 10
	// MaxLabels is how many labels a tenant may have, of at most MaxName bytes each.
	MaxLabels = 64
	// MaxTombstones is how many tombstones are kept of tenants of one name, the newest.
	MaxTombstones = 32
)

// Registration is what is kept of a tenant beside its history, the value of
// @tenants/<tenant>. A tenant that nobody created has none until it is deleted. It lies in
// etcd as JSON and outside the envelope: an operator reads it with etcdctl.
type Registration struct {
	// ID is the tenant's, which its first commit takes. It is zero from the moment when the
	// tenant was deleted until one of the same name is created.
	ID      diff.TenantID `json:"id,omitzero"`
	Created time.Time     `json:"created,omitzero"`
	// Expires is when "tenant prune" may delete it; zero is never.
	Expires time.Time         `json:"expires,omitzero"`
	Labels  map[string]string `json:"labels,omitempty"`
	// QuotaBytes and QuotaFiles bound the contents and the number of files of its tree; 0
	// does not.
	QuotaBytes int64 `json:"quota_bytes,omitempty"`
	QuotaFiles int64 `json:"quota_files,omitempty"`
	// Tombstones are of the tenants of this name that were deleted, the newest last.
	Tombstones []Tombstone `json:"tombstones,omitempty"`
}

// Tombstone says that a tenant was deleted.
type Tombstone struct {
	ID         diff.TenantID `json:"id,omitzero"` // zero if it had no commit and nobody created it
	Generation uint64        `json:"generation"`  // of its last commit, 0 if it had none
	Time       time.Time     `json:"time"`
	By         string        `json:"by"` // user and host
	// Cleared is when none of its keys was left; zero before.
	Cleared time.Time `json:"cleared,omitzero"`
}

// String says when and by whom it was deleted.
func (t Tombstone) String() string {
	return fmt.Sprintf("deleted at %s by %s", t.Time.UTC().Format(time.RFC3339), t.By)
}

// Deleted returns the tombstone of the tenant if it was deleted and none of the same name
// was created since; nil otherwise.
func (r Registration) Deleted() *Tombstone {
	if !r.ID.IsZero() || len(r.Tombstones) == 0 {
		return nil
	}
	return &r.Tombstones[len(r.Tombstones)-1]
}

// Buried returns the tombstone of the tenant with that id, nil if it was not deleted.
func (r Registration) Buried(id diff.TenantID) *Tombstone {
	for i := range r.Tombstones {
		if t := &r.Tombstones[i]; t.ID == id && !id.IsZero() {
			return t
		}
	}
	return nil
}

// EncodeRegistration returns the stored bytes of r.
func EncodeRegistration(r Registration) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("encode registration: %w", err)
	}
	return encodeJSON("registration", r, MaxRegistration)
}

// DecodeRegistration reads the stored bytes of a registration. Fields that it does not know
// are left out. It returns ErrDamaged if b is none.
func DecodeRegistration(b []byte) (r Registration, err error) {
	if err := decodeJSON("registration", b, MaxRegistration, &r); err != nil {
		return Registration{}, err
	}
	if err := r.check(); err != nil {
		return Registration{}, err
	}
	return r, nil
}

// check returns ErrDamaged unless r is such as is stored.
func (r Registration) check() error {
	f := fields{of: "registration"}
	f.check(!r.ID.IsZero() || len(r.Tombstones) > 0, "neither an id nor a tombstone")
	f.check(len(r.Labels) <= MaxLabels, "%d labels", len(r.Labels))
	for key, value := range r.Labels {
		f.check(key != "", "a label without a name")
		f.name(key)
		f.name(value)
	}
	f.check(r.QuotaBytes >= 0 && r.QuotaFiles >= 0, "a quota below 0")
	f.check(len(r.Tombstones) <= MaxTombstones, "%d tombstones", len(r.Tombstones))
	for _, t := range r.Tombstones {
		f.name(t.By)
	}
	return f.err
}
