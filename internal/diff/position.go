package diff

import (
	"encoding/hex"
	"fmt"
)

// TenantID is a tenant's random id from birth. It tells a tenant from another one
// that once had, or elsewhere has, the same name.
type TenantID [16]byte

// String returns the id in hexadecimal.
func (id TenantID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id is unset.
func (id TenantID) IsZero() bool { return id == TenantID{} }

// ParseTenantID reads what String writes.
func ParseTenantID(s string) (TenantID, error) {
	var id TenantID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("tenant id %q is not %d hexadecimal digits", s, 2*len(id))
	}
	copy(id[:], b)
	return id, nil
}

// MarshalText writes the id as String does.
func (id TenantID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (id *TenantID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseTenantID(string(b))
	return err
}

// Position names one version of one tenant's tree. The commit id is the hash of
// the record that made it, which holds its parent's commit id: equal positions
// have equal histories. The zero Position comes before every commit.
type Position struct {
	Tenant     TenantID
	Generation uint64
	Commit     Hash
}

// IsZero reports whether p comes before every commit.
func (p Position) IsZero() bool { return p == Position{} }
