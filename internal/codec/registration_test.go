package codec

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/diff"
)

func goldenRegistration() Registration {
	at := time.Date(2026, 11, 22, 10, 43, 0, 0, time.UTC)
	return Registration{
		ID: goldenTenant(), Created: at, Expires: at.Add(7 * 24 * time.Hour),
		Labels:     map[string]string{"env": "prod", "owner": "team-a"},
		QuotaBytes: 100 << 20, QuotaFiles: 10000,
		Tombstones: []Tombstone{{ID: diff.TenantID(bytes.Repeat([]byte{0x7d}, 16)), Generation: 41, Time: at.Add(-time.Hour), By: "root@host-1", Cleared: at.Add(-time.Minute)}},
	}
}

func TestGoldenRegistration(t *testing.T) {
	file := filepath.Join(goldenDir, "registration.json")
	encoded, err := EncodeRegistration(goldenRegistration())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, encoded, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, string(encoded), string(stored))
	decoded, err := DecodeRegistration(stored)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, decoded, goldenRegistration())
}

func TestRegistrationThatIsNoneIsDamaged(t *testing.T) {
	for name, stored := range map[string]string{
		"empty": "", "no object": `"x"`, "cut": `{"id":"7e`, "without id and tombstone": `{"labels":{"a":"b"}}`,
		"an id that is none": `{"id":"7e"}`, "a quota below 0": `{"id":"` + goldenTenant().String() + `","quota_files":-1}`,
		"a label without a name": `{"id":"` + goldenTenant().String() + `","labels":{"":"x"}}`,
		"too long":               `{"id":"` + goldenTenant().String() + `","labels":{"a":"` + strings.Repeat("a", MaxRegistration) + `"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := DecodeRegistration([]byte(stored)); !errors.Is(err, ErrDamaged) || !reflect.DeepEqual(r, Registration{}) {
				t.Fatalf("got %+v, %v", r, err)
			}
		})
	}
}

func TestRegistrationTellsWhichTenantWasDeleted(t *testing.T) {
	r := goldenRegistration()
	former := r.Tombstones[0].ID
	if r.Deleted() != nil || r.Buried(goldenTenant()) != nil || r.Buried(diff.TenantID{}) != nil {
		t.Error("the living one counts as deleted")
	}
	if tomb := r.Buried(former); tomb == nil || tomb.Generation != 41 {
		t.Errorf("of the former one: %v", tomb)
	}
	r.ID = diff.TenantID{}
	if tomb := r.Deleted(); tomb == nil || tomb.String() != "deleted at 2026-11-22T09:43:00Z by root@host-1" {
		t.Errorf("once it has no id: %v", tomb)
	}
}

func FuzzRegistration(f *testing.F) {
	golden, err := EncodeRegistration(goldenRegistration())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(`{"tombstones":[{"generation":1,"time":"2026-11-22T10:43:00+01:00","by":"a"}],"newer":1}`))
	f.Add([]byte(`{"id":"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := DecodeRegistration(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		encoded, err := EncodeRegistration(first)
		if err != nil {
			return // escapes can make it longer than what was read
		}
		second, err := DecodeRegistration(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := EncodeRegistration(second); err != nil || !bytes.Equal(again, encoded) {
			t.Fatalf("encoded %s and then %s, %v", encoded, again, err)
		}
	})
}

// What could not be read again would be in everybody's way for ever.
func TestRegistrationThatCouldNotBeReadIsNotEncoded(t *testing.T) {
	for name, change := range map[string]func(*Registration){
		"a long name in a tombstone": func(r *Registration) { r.Tombstones[0].By = strings.Repeat("a", MaxName+1) },
		"a long label":               func(r *Registration) { r.Labels["a"] = strings.Repeat("a", MaxName+1) },
		"a quota below 0":            func(r *Registration) { r.QuotaFiles = -1 },
		"neither id nor tombstone":   func(r *Registration) { *r = Registration{} },
	} {
		t.Run(name, func(t *testing.T) {
			r := goldenRegistration()
			change(&r)
			if b, err := EncodeRegistration(r); err == nil {
				t.Errorf("encoded as %d bytes", len(b))
			}
		})
	}
}
