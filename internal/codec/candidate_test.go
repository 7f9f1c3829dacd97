package codec

import (
	"errors"
	"strings"
	"testing"
)

func TestCandidateComesBackAsItWas(t *testing.T) {
	c := Candidate{Publisher: "config-1", Instance: "0123456789abcdef", Host: "host-1"}
	b, err := EncodeCandidate(c)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeCandidate(b); err != nil || got != c {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func TestCandidateThatIsNoneIsDamaged(t *testing.T) {
	for name, stored := range map[string]string{
		"empty": "", "no object": `"x"`, "cut": `{"publisher":"a"`, "too long": `{"publisher":"` + strings.Repeat("a", maxCandidate) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := DecodeCandidate([]byte(stored)); !errors.Is(err, ErrDamaged) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func FuzzCandidate(f *testing.F) {
	f.Add([]byte(`{"publisher":"config-1","instance":"0123456789abcdef","host":"h"}`))
	f.Add([]byte(`{"publisher":"a","newer":[1,2]}`))
	f.Add([]byte(`{"publisher":"a"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := DecodeCandidate(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		encoded, err := EncodeCandidate(first)
		if err != nil {
			return // escapes can make it longer than what was read
		}
		if second, err := DecodeCandidate(encoded); err != nil || second != first {
			t.Fatalf("decoded %+v and then %+v, %v", first, second, err)
		}
	})
}
