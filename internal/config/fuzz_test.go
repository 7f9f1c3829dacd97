package config

import (
	"errors"
	"testing"
)

// Values with units come back from how they are written, and are refused with a remedy.
func FuzzUnits(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		refused := func(err error) bool {
			var fault Fault
			if err != nil && (!errors.As(err, &fault) || fault.Problem == "" || fault.Remedy == "") {
				t.Errorf("%q: incomplete: %v", s, err)
			}
			return err != nil
		}
		if n, err := ParseSize(s); !refused(err) {
			if again, err := ParseSize(sizeText(n)); n < 0 || err != nil || again != n {
				t.Errorf("%q is the size %d, written %q, read %d: %v", s, n, sizeText(n), again, err)
			}
		}
		if m, err := ParseMode(s); !refused(err) && m&^0o777 != 0 {
			t.Errorf("%q is the mode %o", s, m)
		}
		if p, err := ParsePercent(s); !refused(err) && !(p >= 0 && p <= 1) {
			t.Errorf("%q is the share %v", s, p)
		}
		if d, err := ParseDuration(s); !refused(err) {
			if again, err := ParseDuration(d.String()); err != nil || again != d {
				t.Errorf("%q is %v, read %v: %v", s, d, again, err)
			}
		}
	})
}
