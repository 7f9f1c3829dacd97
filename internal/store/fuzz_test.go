package store

import (
	"strings"
	"testing"
)

// A key that is read as a record's is the one that is written for its generation.
func FuzzLogKey(f *testing.F) {
	f.Fuzz(func(t *testing.T, key string, generation uint64) {
		k := keys{base: "/confsyncd/prod"}
		written := k.log(generation)
		if got, ok := k.generation(written); !ok || got != generation {
			t.Errorf("%q is read as %d, %v", written, got, ok)
		}
		if written >= k.logEnd() || written <= k.head() {
			t.Errorf("%q lies outside of what is watched", written)
		}
		if got, ok := k.generation(key); ok && k.log(got) != key {
			t.Errorf("%q is read as generation %d, whose key is %q", key, got, k.log(got))
		}
	})
}

func FuzzOutdated(f *testing.F) {
	f.Fuzz(func(t *testing.T, version string) {
		if warning := outdated(version, oldest()); warning != "" && !strings.Contains(warning, version) {
			t.Errorf("%q is said of %q", warning, version)
		}
	})
}
